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
        can_skip: true,
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
            protocol_type: Some("consumer".to_owned()),
            protocol: Some("range".to_owned()),
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

/// A stable group of one static member, "old", whose assignment is "a".
fn of_one_static_member(replies: &mut Vec<Reply>) -> Group {
    let mut group = Group::new(0);
    let joined = group.join(&request("", Some("i")), "old".to_owned(), 1, 0, replies);
    assert_eq!(joined, Step::Wait);
    let synced = group.sync(sync("old", 1), 2, 0, replies);
    assert_eq!(synced, Step::Wait);
    group
}

fn sync(id: &str, generation: i32) -> SyncRequest {
    SyncRequest {
        member_id: id.to_owned(),
        instance_id: Some("i".to_owned()),
        generation,
        protocol_type: None,
        protocol: None,
        assignments: vec![(id.to_owned(), Bytes::from_static(b"a"))],
    }
}

#[test]
fn a_static_member_is_replaced_without_a_rebalance_and_its_old_self_fenced() {
    let mut replies = Vec::new();
    let mut group = of_one_static_member(&mut replies);
    let back = group.join(
        &request("", Some("i")),
        "new".to_owned(),
        3,
        0,
        &mut replies,
    );
    let Step::Done(Ok(answer)) = back else {
        panic!("{back:?}");
    };
    assert_eq!(
        (
            answer.generation,
            answer.leader.as_str(),
            answer.skip_assignment
        ),
        (1, "new", true)
    );
    assert_eq!(answer.members.len(), 1, "the leader knows everyone");
    let Step::Done(Ok(assigned)) = group.sync(sync("new", 1), 4, 0, &mut replies) else {
        panic!("no assignment");
    };
    assert_eq!(assigned.assignment, Bytes::from_static(b"a"));
    let fenced = ResponseError::FencedInstanceId;
    assert_eq!(group.heartbeat("old", Some("i"), 1, 0), Err(fenced));
    let again = group.join(
        &request("old", Some("i")),
        "x".to_owned(),
        5,
        0,
        &mut replies,
    );
    assert_eq!(again, Step::Done(Err(fenced)));
    assert_eq!(group.heartbeat("new", Some("i"), 1, 0), Ok(()));
    assert_eq!(
        group.may_commit("new", Some("i"), 2, 0),
        Err(ResponseError::IllegalGeneration)
    );
}

#[test]
fn a_returning_leader_that_cannot_skip_is_told_of_its_old_self() {
    let mut replies = Vec::new();
    let mut group = of_one_static_member(&mut replies);
    let mut old_client = request("", Some("i"));
    old_client.can_skip = false;
    let back = group.join(&old_client, "new".to_owned(), 3, 0, &mut replies);
    let Step::Done(Ok(answer)) = back else {
        panic!("{back:?}");
    };
    assert_eq!((answer.leader.as_str(), answer.members.len()), ("old", 0));
    assert!(!answer.skip_assignment);
}

#[test]
fn a_static_member_with_another_strategy_makes_a_new_generation() {
    let mut replies = Vec::new();
    let mut group = Group::new(0);
    let mut of_both = request("", Some("i"));
    let mut other = of_both.protocols.clone();
    other[0].name = "roundrobin".to_owned();
    of_both.protocols.extend(other.clone());
    let joined = group.join(&of_both, "old".to_owned(), 1, 0, &mut replies);
    assert_eq!(joined, Step::Wait);
    let synced = group.sync(sync("old", 1), 2, 0, &mut replies);
    assert_eq!((synced, group.protocol.as_str()), (Step::Wait, "range"));
    let mut of_other = request("", Some("i"));
    of_other.protocols = other;
    let back = group.join(&of_other, "new".to_owned(), 3, 0, &mut replies);
    assert_eq!((back, group.generation), (Step::Wait, 2));
    assert_eq!(group.protocol, "roundrobin");
}

#[test]
fn who_asks_for_the_assignment_of_another_protocol_is_refused() {
    let mut replies = Vec::new();
    let mut group = of_one_static_member(&mut replies);
    let inconsistent = Step::Done(Err(ResponseError::InconsistentGroupProtocol));
    let mut other = sync("old", 1);
    other.protocol = Some("roundrobin".to_owned());
    assert_eq!(group.sync(other, 3, 0, &mut replies), inconsistent);
    let mut other = sync("old", 1);
    other.protocol_type = Some("connect".to_owned());
    assert_eq!(group.sync(other, 4, 0, &mut replies), inconsistent);
}

#[test]
fn a_group_that_lost_its_members_still_knows_that_it_had_some() {
    let mut replies = Vec::new();
    let mut group = of_one_static_member(&mut replies);
    group.tick(SESSION + 1, &mut replies);
    assert!(group.is_idle() && group.had_members());
    assert_eq!(
        group.may_commit("old", None, 1, SESSION + 1),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(group.may_commit("", None, -1, SESSION + 1), Ok(()));
}

/// A session that outlasts a rebalance.
const LONG_SESSION: Millis = 5 * REBALANCE;

/// Joins with a long session, under the id if it has none yet.
fn join(group: &mut Group, who: (&str, Option<&str>, &str), now: Millis) -> Vec<Reply> {
    let (member_id, instance_id, new_id) = who;
    let mut wish = request(member_id, instance_id);
    wish.session_timeout = LONG_SESSION;
    wish.id_required = false;
    let mut replies = Vec::new();
    let ticket = 100 + now;
    let step = group.join(&wish, new_id.to_owned(), ticket, now, &mut replies);
    assert_eq!(step, Step::Wait);
    replies
}

#[test]
fn a_static_member_that_is_late_keeps_its_place_until_its_session_ends() {
    let mut group = Group::new(0);
    join(&mut group, ("", Some("i"), "static"), 0);
    assert_eq!(group.leader, "static");
    group.sync(sync("static", 1), 1, 0, &mut Vec::new());
    // Another one calls it, and it does not come.
    join(&mut group, ("", None, "other"), 10);
    let mut replies = Vec::new();
    group.tick(10 + REBALANCE, &mut replies);
    let [Reply::Join(110, Ok(answer))] = &replies[..] else {
        panic!("{replies:?}");
    };
    assert_eq!((answer.generation, answer.leader.as_str()), (2, "other"));
    assert_eq!(answer.members.len(), 2, "{answer:?}");
    let mut assigns = sync("other", 2);
    assigns.instance_id = None;
    group.sync(assigns, 2, 10 + REBALANCE, &mut Vec::new());
    group.tick(LONG_SESSION - 1, &mut Vec::new());
    assert_eq!((group.members.len(), group.state), (2, GroupState::Stable));
    group.tick(LONG_SESSION, &mut Vec::new());
    assert_eq!(group.members.keys().collect::<Vec<_>>(), ["other"]);
    assert_eq!(group.state, GroupState::PreparingRebalance);
}

#[test]
fn a_rebalance_in_which_nobody_joined_waits_for_the_static_members_it_has() {
    let called = || {
        let mut group = Group::new(0);
        join(&mut group, ("", Some("i"), "static"), 0);
        group.sync(sync("static", 1), 1, 0, &mut Vec::new());
        join(&mut group, ("", None, "other"), 10);
        group.cancel(110, 10);
        let next = group.tick(10 + REBALANCE, &mut Vec::new());
        assert_eq!(group.members.keys().collect::<Vec<_>>(), ["static"]);
        assert_eq!(group.state, GroupState::PreparingRebalance);
        assert_eq!(next, Some(10 + 2 * REBALANCE));
        group
    };
    let mut group = called();
    let replies = join(&mut group, ("static", Some("i"), ""), 1_500);
    assert!(matches!(&replies[..], [Reply::Join(_, Ok(_))]));
    let mut group = called();
    let mut now = 10 + REBALANCE;
    while let Some(next) = group.tick(now, &mut Vec::new()) {
        assert!(next > now && next <= LONG_SESSION, "{next}");
        now = next;
    }
    assert_eq!((now, group.state), (LONG_SESSION, GroupState::Empty));
}

#[test]
fn members_that_come_and_go_do_not_put_off_a_rebalance() {
    let mut group = Group::new(0);
    join(&mut group, ("", None, "first"), 0);
    group.tick(0, &mut Vec::new());
    // The first is alive and does not join again; the second waits for it.
    join(&mut group, ("", None, "second"), 10);
    let mut now = 10;
    let mut replies = Vec::new();
    while replies.is_empty() && now < 3 * REBALANCE {
        now += REBALANCE / 4;
        replies = join(&mut group, ("", None, &format!("loops {now}")), now);
        group.cancel(100 + now, now);
        group.tick(now, &mut replies);
    }
    assert_eq!(now, 10 + REBALANCE);
    let second = |reply: &Reply| matches!(reply, Reply::Join(110, Ok(_)));
    assert!(replies.iter().any(second), "{replies:?}");
}
