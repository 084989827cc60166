use super::*;
use crate::demo::journal::Entry;
use crate::ledger::Fault;
use cloudsync::v1::SyncRecord;
use prost::Message;

/// A small world: what was sent, what the log has, what lies at the destination `aws`.
struct World {
    entries: Vec<Entry>,
    log: Vec<(LogPosition, Vec<u8>)>,
    dead: Vec<LogPosition>,
    /// What of the log was redriven, and for whom.
    redriven: Vec<(LogPosition, &'static str)>,
    lines: Vec<(LogPosition, Sent, String)>,
}

fn at(partition: i32, offset: i64) -> LogPosition {
    LogPosition { partition, offset }
}

fn record(id: &str, payload: &str, destinations: &[&str]) -> SyncRecord {
    SyncRecord {
        request_id: id.to_owned(),
        key: "k".to_owned(),
        payload: payload.to_owned().into_bytes().into(),
        tenant: "default".to_owned(),
        destinations: destinations.iter().map(|name| (*name).to_owned()).collect(),
        ..SyncRecord::default()
    }
}

fn sent(id: &str, payload: &str) -> Sent {
    Sent::of("k", id, payload.as_bytes(), "")
}

impl World {
    /// Ids 0 to 9, each sent, acknowledged, in the log and delivered once; 3 sent again at (1, 9).
    fn sound() -> Self {
        let mut world = Self {
            entries: Vec::new(),
            log: Vec::new(),
            dead: Vec::new(),
            redriven: Vec::new(),
            lines: Vec::new(),
        };
        for n in 0..10 {
            let position = at(n % 2, i64::from(n));
            let (id, payload) = (format!("id-{n}"), format!("payload {n}"));
            world.send(position, &record(&id, &payload, &[]), false);
            world.lines.push((position, sent(&id, &payload), id));
        }
        world.send(at(1, 10), &record("id-3", "payload 3", &[]), true);
        world
    }

    fn send(&mut self, position: LogPosition, record: &SyncRecord, again: bool) {
        let sent = Sent::of(&record.key, &record.request_id, &record.payload, "");
        self.entries.push(Entry::Sent { sent, again });
        self.log.push((position, record.encode_to_vec()));
    }

    fn count(&self) -> (DestinationLedger, Vec<Fault>, Option<String>) {
        let mut entries = self.entries.clone();
        entries.push(Entry::Acked(0..self.entries.len() as u64));
        self.count_with(&entries)
    }

    fn count_with(&self, entries: &[Entry]) -> (DestinationLedger, Vec<Fault>, Option<String>) {
        let expected = Expected::from_entries(entries);
        let mut book = Book::new(vec!["azure".to_owned(), "aws".to_owned()]);
        for (position, value) in &self.log {
            let mut redriven = self.redriven.iter();
            let redriven = redriven.find(|(at, _)| at == position);
            let for_one = redriven.map(|(_, name)| *name);
            book.record(&expected, *position, Some(value), for_one);
        }
        for position in &self.dead {
            book.dead_letter("aws", *position);
        }
        assert_eq!(book.faults.total, 0, "{:?}", book.faults);
        let mut account = Account::open("aws", 1, &expected, &book);
        for (position, sent, request_id) in &self.lines {
            account.line(&ReadLine {
                position: *position,
                foreign: false,
                sent: *sent,
                request_id,
                fingerprint_holds: true,
            });
        }
        let (ledger, faults, problem) = account.close();
        (ledger, faults.named, problem)
    }
}

fn only(faults: &[Fault]) -> (FaultKind, Option<Id16>, Option<LogPosition>) {
    assert_eq!(faults.len(), 1, "{faults:?}");
    (faults[0].kind, faults[0].id, faults[0].position)
}

#[test]
fn a_sound_destination_has_no_fault_and_its_sum_holds() {
    let (ledger, faults, problem) = World::sound().count();
    assert_eq!((ledger.delivered, ledger.duplicates), (10, 1));
    assert_eq!((ledger.lost, ledger.doubled, ledger.altered), (0, 0, 0));
    assert!(
        faults.is_empty() && problem.is_none(),
        "{faults:?} {problem:?}"
    );
}

#[test]
fn a_redriven_record_is_delivered_where_it_goes_and_not_addressed_elsewhere() {
    let mut world = World::sound();
    let (place, line, id) = world.lines.remove(4);
    world.dead.push(place);
    world
        .log
        .push((at(0, 11), record(&id, "payload 4", &[]).encode_to_vec()));
    world.redriven.push((at(0, 11), "aws"));
    world.lines.push((at(0, 11), line, id));
    let (ledger, faults, problem) = world.count();
    assert_eq!((ledger.delivered, ledger.dead_lettered), (10, 1));
    assert_eq!((ledger.duplicates, ledger.not_addressed), (1, 0));
    assert!(
        faults.is_empty() && problem.is_none(),
        "{faults:?} {problem:?}"
    );
    // For whom it is not, it is none of its records, and a line of it would be a fault.
    world.redriven = vec![(at(0, 11), "azure")];
    let (ledger, faults, _) = world.count();
    assert_eq!(
        (ledger.not_addressed, only(&faults).0),
        (0, FaultKind::Altered)
    );
    world.lines.pop();
    let (ledger, faults, problem) = world.count();
    assert_eq!((ledger.delivered, ledger.not_addressed), (9, 1));
    assert!(
        faults.is_empty() && problem.is_none(),
        "{faults:?} {problem:?}"
    );
}

#[test]
fn a_line_that_is_gone_is_lost_by_its_id_and_breaks_the_sum() {
    let mut world = World::sound();
    world.lines.remove(4);
    let (ledger, faults, problem) = world.count();
    assert_eq!((ledger.delivered, ledger.lost), (9, 1));
    let id = sent("id-4", "payload 4").id;
    assert_eq!(only(&faults), (FaultKind::Lost, Some(id), Some(at(0, 4))));
    assert!(problem.unwrap().contains("the log has 11 records"));
}

#[test]
fn the_lost_are_named_in_the_order_of_the_log() {
    let mut world = World::sound();
    world.lines.clear();
    let (ledger, faults, _) = world.count();
    assert_eq!(ledger.lost, 10);
    let lost = faults.iter().filter(|fault| fault.kind == FaultKind::Lost);
    assert!(lost.is_sorted_by_key(|fault| fault.position));
}

#[test]
fn an_id_sent_twice_and_gone_is_lost_once() {
    let mut world = World::sound();
    world.lines.remove(3);
    let (ledger, faults, _) = world.count();
    assert_eq!((ledger.lost, ledger.duplicates), (1, 0));
    let id = sent("id-3", "payload 3").id;
    assert_eq!(only(&faults), (FaultKind::Lost, Some(id), Some(at(1, 3))));
}

#[test]
fn what_was_acknowledged_and_is_not_in_the_log_is_lost() {
    let mut world = World::sound();
    let gone = sent("id-x", "x");
    world.entries.push(Entry::Sent {
        sent: gone,
        again: false,
    });
    let (ledger, faults, problem) = world.count();
    assert_eq!(ledger.lost, 1);
    assert_eq!(only(&faults), (FaultKind::Lost, Some(gone.id), None));
    assert_eq!(problem, None);
}

#[test]
fn a_place_that_lies_here_twice_is_doubled() {
    let mut world = World::sound();
    let copy = world.lines[5].clone();
    world.lines.push(copy);
    let (ledger, faults, problem) = world.count();
    assert_eq!((ledger.delivered, ledger.doubled), (10, 1));
    let id = sent("id-5", "payload 5").id;
    assert_eq!(
        only(&faults),
        (FaultKind::Doubled, Some(id), Some(at(1, 5)))
    );
    assert_eq!(problem, None);
}

#[test]
fn an_id_that_lies_here_under_two_places_is_doubled() {
    let mut world = World::sound();
    world
        .lines
        .push((at(1, 10), sent("id-3", "payload 3"), "id-3".to_owned()));
    let (ledger, faults, problem) = world.count();
    assert_eq!(
        (ledger.delivered, ledger.duplicates, ledger.doubled),
        (11, 0, 1)
    );
    let id = sent("id-3", "payload 3").id;
    assert_eq!(
        only(&faults),
        (FaultKind::Doubled, Some(id), Some(at(1, 10)))
    );
    assert_eq!(problem, None);
}

#[test]
fn another_content_is_altered_even_where_the_line_agrees_with_itself() {
    let mut world = World::sound();
    world.lines[7].1 = sent("id-7", "payload X");
    let (ledger, faults, problem) = world.count();
    assert_eq!((ledger.delivered, ledger.altered, ledger.lost), (10, 1, 0));
    let id = sent("id-7", "").id;
    assert_eq!(
        only(&faults),
        (FaultKind::Altered, Some(id), Some(at(1, 7)))
    );
    assert_eq!(problem, None);
}

#[test]
fn another_id_at_a_place_is_altered_and_the_one_that_belongs_there_is_lost() {
    let mut world = World::sound();
    world.lines[7].1 = sent("id-Y", "payload 7");
    let (ledger, faults, _) = world.count();
    assert_eq!((ledger.altered, ledger.lost), (1, 1));
    assert_eq!(faults[1].id, Some(sent("id-7", "").id));
}

#[test]
fn dead_letters_and_other_destinations_are_no_loss() {
    let mut world = World::sound();
    world.send(at(0, 20), &record("bad", "b", &[]), false);
    world.dead.push(at(0, 20));
    world.send(at(0, 21), &record("elsewhere", "e", &["azure"]), false);
    world.send(at(0, 22), &record("here", "h", &["aws"]), false);
    world
        .lines
        .push((at(0, 22), sent("here", "h"), "here".to_owned()));
    // The same id with another content: the log's second one is set aside.
    world.send(at(0, 23), &record("here", "other", &[]), false);
    world.dead.push(at(0, 23));
    let (ledger, faults, problem) = world.count();
    assert_eq!(
        (ledger.delivered, ledger.dead_lettered, ledger.not_addressed),
        (11, 2, 1)
    );
    assert!(
        faults.is_empty() && problem.is_none(),
        "{faults:?} {problem:?}"
    );

    // A conflict that was dropped instead of set aside breaks the sum.
    world.dead.pop();
    let (ledger, faults, problem) = world.count();
    assert_eq!((ledger.duplicates, ledger.lost), (1, 0));
    let id = sent("here", "h").id;
    assert_eq!(
        only(&faults),
        (FaultKind::Missing, Some(id), Some(at(0, 23)))
    );
    assert!(problem.is_some());
}

#[test]
fn a_record_in_the_log_whose_answer_was_lost_is_missing_if_it_is_nowhere() {
    let mut world = World::sound();
    world.send(at(1, 11), &record("unanswered", "u", &[]), false);
    let mut entries = world.entries.clone();
    entries.push(Entry::Acked(0..11));
    let (ledger, faults, problem) = world.count_with(&entries);
    assert_eq!(ledger.lost, 0);
    let id = sent("unanswered", "u").id;
    assert_eq!(
        only(&faults),
        (FaultKind::Missing, Some(id), Some(at(1, 11)))
    );
    assert!(problem.is_some());
}

#[test]
fn a_line_from_nowhere_is_altered() {
    let mut world = World::sound();
    world
        .lines
        .push((at(3, 1), sent("ghost", "g"), "ghost".to_owned()));
    let (ledger, faults, _) = world.count();
    assert_eq!(ledger.altered, 1);
    assert_eq!(only(&faults).2, Some(at(3, 1)));
}
