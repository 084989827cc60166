"""What schemathesis cannot write by itself: a value a line, and bodies packed as their header says."""

import gzip
import json

import schemathesis


def packed(context, text):
    encoding = (context.case.headers or {}).get("Content-Encoding")
    return gzip.compress(text) if encoding == "gzip" else text


@schemathesis.serializer("application/x-ndjson", "application/jsonl")
def lines(context, value):
    text = value if isinstance(value, str) else json.dumps(value)
    return packed(context, text.encode("utf-8", "surrogatepass"))


@schemathesis.serializer("application/json")
def document(context, value):
    return packed(context, json.dumps(value).encode())
