"""One thing that kafka-python does with a broker: foreign/client.py BOOTSTRAP WHAT ARG...

Prints what it found, a line for each thing, for the tests to read.
"""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

WAIT_MS = 30_000


def produce(bootstrap, topic, codec, count):
    codec = None if codec == "none" else codec
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type=codec)
    sent = [
        producer.send(
            topic,
            key=b"k%d" % number,
            value=b"v%d" % number + b"-" * 50,
            partition=0,
            headers=[("h", b"x")],
            timestamp_ms=1_000 + number,
        )
        for number in range(int(count))
    ]
    for delivery in sent:
        print(delivery.get(timeout=WAIT_MS / 1000).offset)
    producer.close()


def show(consumer, count):
    for record, _ in zip(consumer, range(count)):
        print(record.partition, record.offset, record.key.decode(), record.value.decode())


def consume(bootstrap, topic, count):
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=WAIT_MS,
    )
    consumer.assign([TopicPartition(topic, 0)])
    show(consumer, int(count))
    consumer.close()


def group(bootstrap, topic, name, count):
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=name,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=WAIT_MS,
    )
    show(consumer, int(count))
    consumer.commit()
    place = TopicPartition(topic, 0)
    print("committed", consumer.committed(place))
    consumer.close()


def times(bootstrap, topic, *wanted):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    place = TopicPartition(topic, 0)
    for time in wanted:
        found = consumer.offsets_for_times({place: int(time)})[place]
        print(*(found and (found.offset, found.timestamp) or ("none",)))
    print(consumer.beginning_offsets([place])[place], consumer.end_offsets([place])[place])
    consumer.close()


def create_topic(bootstrap, topic, partitions):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    new = NewTopic(topic, int(partitions), 1, topic_configs={"retention.ms": "60000"})
    admin.create_topics([new])
    print(*sorted(admin.list_topics()))
    admin.close()


def delete_topic(bootstrap, topic):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.delete_topics([topic])
    print(*sorted(admin.list_topics()))
    admin.close()


def list_topics(bootstrap):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    print(*sorted(admin.list_topics()))
    admin.close()


def describe_topic(bootstrap, topic):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    for found in admin.describe_topics([topic]):
        for partition in found["partitions"]:
            print(found["name"], partition["partition_index"], partition["leader_id"])
    admin.close()


def list_groups(bootstrap):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    print(*sorted(group["group_id"] for group in admin.list_groups()))
    admin.close()


def describe_group(bootstrap, name):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    found = admin.describe_groups([name])
    found = found[name] if isinstance(found, dict) else found[0]
    print(found["group_id"], found["group_state"], len(found["members"]))
    admin.close()


def delete_group(bootstrap, name):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    print(admin.delete_groups([name]))
    print(*sorted(group["group_id"] for group in admin.list_groups()))
    admin.close()


if __name__ == "__main__":
    globals()[sys.argv[2]](sys.argv[1], *sys.argv[3:])
