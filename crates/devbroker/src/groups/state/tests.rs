use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::groups::Protocol;

const SESSION: Millis = 300;
const REBALANCE: Millis = 1_000;
const DELAY: Millis = 100;

fn request(member_id: &str, instance_id: Option<&str>) -> JoinRequest {
    JoinRequest {
        member_id: member_id.to_owned(),
        instance_id: instance_id.map(ToOwned::to_owned),
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"m"),
        }],
        id_required: true,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Out,
    Joining(Ticket),
    Syncing(Ticket),
    In,
}

/// A client that follows the protocol.
#[derive(Debug)]
struct Client {
    id: String,
    generation: i32,
    phase: Phase,
}

impl Client {
    fn new() -> Self {
        Self {
            id: String::new(),
            generation: -1,
            phase: Phase::Out,
        }
    }
}

/// A group with its clients and the clock.
struct World {
    group: Group,
    clients: Vec<Client>,
    now: Millis,
    next: u64,
    /// Tickets that wait for an answer → client.
    waiting: BTreeMap<Ticket, usize>,
    last_generation: i32,
}

impl World {
    fn new(clients: usize) -> Self {
        Self {
            group: Group::new(DELAY),
            clients: (0..clients).map(|_| Client::new()).collect(),
            now: 0,
            next: 0,
            waiting: BTreeMap::new(),
            last_generation: 0,
        }
    }

    fn ticket(&mut self, of: usize) -> Ticket {
        self.next += 1;
        self.waiting.insert(self.next, of);
        self.next
    }

    fn act(&mut self, who: usize) {
        let mut replies = Vec::new();
        match self.clients[who].phase {
            Phase::Out => self.join(who, &mut replies),
            Phase::In => {
                let (id, generation) = (self.clients[who].id.clone(), self.clients[who].generation);
                if let Err(error) = self.group.heartbeat(&id, None, generation, self.now) {
                    self.fail(who, error);
                }
            }
            Phase::Joining(_) | Phase::Syncing(_) => {}
        }
        self.take(replies);
    }

    fn join(&mut self, who: usize, replies: &mut Vec<Reply>) {
        let ticket = self.ticket(who);
        let request = request(&self.clients[who].id, None);
        let step = self
            .group
            .join(&request, format!("m{ticket}"), ticket, self.now, replies);
        match step {
            Step::Wait => self.clients[who].phase = Phase::Joining(ticket),
            Step::IdRequired(id) => {
                self.waiting.remove(&ticket);
                self.clients[who].id = id;
            }
            Step::Done(result) => {
                self.waiting.remove(&ticket);
                match result {
                    Ok(answer) => self.sync(who, answer, replies),
                    Err(error) => self.fail(who, error),
                }
            }
        }
    }

    fn sync(&mut self, who: usize, answer: JoinAnswer, replies: &mut Vec<Reply>) {
        assert_eq!(
            answer.leader == answer.member_id,
            !answer.members.is_empty()
        );
        let ticket = self.ticket(who);
        let assignments = answer
            .members
            .iter()
            .map(|(id, ..)| (id.clone(), Bytes::from(id.clone())));
        let request = SyncRequest {
            member_id: answer.member_id.clone(),
            instance_id: None,
            generation: answer.generation,
            assignments: assignments.collect(),
        };
        self.clients[who].id = answer.member_id;
        self.clients[who].generation = answer.generation;
        match self.group.sync(request, ticket, self.now, replies) {
            Step::Wait => self.clients[who].phase = Phase::Syncing(ticket),
            Step::Done(result) => {
                self.waiting.remove(&ticket);
                self.enter(who, result);
            }
            Step::IdRequired(_) => panic!("a sync asks for an id"),
        }
    }

    fn enter(&mut self, who: usize, result: Result<SyncAnswer, ResponseError>) {
        match result {
            Ok(answer) => {
                assert_eq!(
                    answer.assignment,
                    self.clients[who].id.as_bytes(),
                    "someone else's"
                );
                self.clients[who].phase = Phase::In;
            }
            Err(error) => self.fail(who, error),
        }
    }

    fn fail(&mut self, who: usize, error: ResponseError) {
        match error {
            ResponseError::UnknownMemberId => self.clients[who] = Client::new(),
            ResponseError::RebalanceInProgress | ResponseError::IllegalGeneration => {
                self.clients[who].phase = Phase::Out;
            }
            other => panic!("{other}"),
        }
    }

    fn take(&mut self, replies: Vec<Reply>) {
        let mut more = Vec::new();
        for reply in replies {
            let (ticket, answer) = match reply {
                Reply::Join(ticket, answer) => (ticket, Ok(answer)),
                Reply::Sync(ticket, answer) => (ticket, Err(answer)),
            };
            let who = self
                .waiting
                .remove(&ticket)
                .expect("a ticket answered twice or never taken");
            match answer {
                Ok(Ok(joined)) => self.sync(who, joined, &mut more),
                Ok(Err(error)) => self.fail(who, error),
                Err(synced) => self.enter(who, synced),
            }
        }
        if !more.is_empty() {
            self.take(more);
        }
    }

    /// The client is gone without a word; another takes its place.
    fn crash(&mut self, who: usize) {
        if let Phase::Joining(ticket) | Phase::Syncing(ticket) = self.clients[who].phase {
            self.waiting.remove(&ticket);
            self.group.cancel(ticket, self.now);
        }
        self.clients[who] = Client::new();
    }

    fn leave(&mut self, who: usize) {
        let mut replies = Vec::new();
        if self.clients[who].phase == Phase::In {
            let leave = LeaveRequest {
                member_id: self.clients[who].id.clone(),
                instance_id: None,
            };
            let _known = self.group.leave(&leave, self.now, &mut replies);
            self.clients[who] = Client::new();
        }
        self.take(replies);
    }

    fn pass(&mut self, time: Millis) {
        self.now += time;
        let mut replies = Vec::new();
        let next = self.group.tick(self.now, &mut replies);
        assert!(
            next.is_none_or(|at| at > self.now),
            "a tick leaves nothing due"
        );
        self.take(replies);
    }

    fn check(&mut self) {
        assert!(
            self.group.generation >= self.last_generation,
            "generations rise"
        );
        self.last_generation = self.group.generation;
        let parked = |member: &Member| [member.joining, member.syncing];
        let mut held: Vec<Ticket> = self
            .group
            .members
            .values()
            .flat_map(parked)
            .flatten()
            .collect();
        held.sort_unstable();
        assert!(
            held.iter().eq(self.waiting.keys()),
            "every waiting ticket is held, no other"
        );
        if self.group.state == GroupState::Stable {
            assert!(self.group.members.contains_key(&self.group.leader));
            assert!(
                self.group
                    .members
                    .values()
                    .all(|member| member.joining.is_none())
            );
        }
    }

    fn is_settled(&self) -> bool {
        let current = |client: &Client| {
            client.phase == Phase::In && client.generation == self.group.generation
        };
        self.group.state == GroupState::Stable
            && self.clients.iter().all(current)
            && self.group.members.len() == self.clients.len()
    }
}

proptest! {
    #[test]
    fn whatever_members_do_the_group_settles_when_they_behave(
        actions in proptest::collection::vec((0..10u8, 0..4usize, 0..400u64), 0..120),
    ) {
        let mut world = World::new(4);
        for (action, who, time) in actions {
            match action {
                0..=5 => world.act(who),
                6 => world.crash(who),
                7 => world.leave(who),
                _ => world.pass(time),
            }
            world.check();
        }
        let mut rounds = 0;
        while !world.is_settled() {
            rounds += 1;
            prop_assert!(rounds < 200, "not settled: {:?} {:?}", world.group, world.clients);
            for who in 0..4 {
                world.act(who);
            }
            world.pass(50);
            world.check();
        }
    }
}

#[test]
fn the_first_rebalance_waits_for_more_members_and_no_later_one_does() {
    let mut world = World::new(3);
    for who in [0, 0, 1, 1] {
        world.act(who);
    }
    world.pass(DELAY - 1);
    assert!(world.clients.iter().all(|client| client.phase != Phase::In));
    world.pass(DELAY);
    assert_eq!(world.group.generation, 1);
    assert_eq!(world.clients[0].phase, Phase::In);
    assert_eq!(world.clients[1].phase, Phase::In);
    for who in [2, 2, 0, 1] {
        world.act(who);
        world.act(who);
    }
    assert_eq!(
        world.group.generation, 2,
        "everyone joined, so it begins at once"
    );
}

#[test]
fn a_member_that_does_not_come_back_is_out_after_the_rebalance_timeout() {
    let mut world = World::new(2);
    for who in [0, 0, 1, 1] {
        world.act(who);
    }
    world.pass(DELAY);
    world.crash(1);
    for _ in 0..10 {
        world.act(0);
        world.pass(50);
    }
    assert_eq!(
        (world.group.members.len(), world.clients[0].phase),
        (1, Phase::In)
    );
}

#[test]
fn a_static_member_is_replaced_and_its_old_self_fenced() {
    let mut group = Group::new(0);
    let mut replies = Vec::new();
    let join = |group: &mut Group, id: &str, new: &str, ticket, replies: &mut Vec<Reply>| {
        group.join(&request(id, Some("i")), new.to_owned(), ticket, 0, replies)
    };
    assert_eq!(join(&mut group, "", "old", 1, &mut replies), Step::Wait);
    let sync = |id: &str, generation| SyncRequest {
        member_id: id.to_owned(),
        instance_id: Some("i".to_owned()),
        generation,
        assignments: vec![(id.to_owned(), Bytes::from_static(b"a"))],
    };
    assert_eq!(group.sync(sync("old", 1), 2, 0, &mut replies), Step::Wait);
    assert_eq!(
        join(&mut group, "", "new", 3, &mut replies),
        Step::Wait,
        "a new generation"
    );
    let fenced = Err(ResponseError::FencedInstanceId);
    assert_eq!(group.heartbeat("old", Some("i"), 1, 0), fenced);
    assert_eq!(
        join(&mut group, "old", "x", 4, &mut replies),
        Step::Done(Err(ResponseError::FencedInstanceId))
    );
    assert_eq!(group.heartbeat("new", Some("i"), 2, 0), Ok(()));
    assert_eq!(
        group.may_commit("new", Some("i"), 1, 0),
        Err(ResponseError::IllegalGeneration)
    );
}
