use super::*;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const LONGEST: Duration = Duration::from_secs(30);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Clone, Debug)]
enum Step {
    Admit,
    /// Of the attempts under way, this one (modulo their number) ends so.
    Succeed(usize),
    Fail(usize, ErrorClass),
    Late(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let class = prop_oneof![
        Just(ErrorClass::Transient),
        Just(ErrorClass::Throttled(Duration::ZERO)),
        Just(ErrorClass::Outage),
        Just(ErrorClass::Denied),
        Just(ErrorClass::Rejected),
    ];
    prop_oneof![
        4 => Just(Step::Admit),
        1 => any::<usize>().prop_map(Step::Succeed),
        4 => (any::<usize>(), class).prop_map(|(at, class)| Step::Fail(at, class)),
        1 => any::<usize>().prop_map(Step::Late),
        2 => (0u64..4_000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens: closed, all go; else one a second at most; whoever waits as told goes; what
    /// began before it opened neither closes it nor keeps it open.
    #[test]
    fn it_lets_all_through_or_a_few_and_always_one_in_the_end(
        steps in proptest::collection::vec(step(), 0..200)
    ) {
        let mut breaker = Breaker::default();
        let mut now = Instant::now();
        let mut last_probe: Option<Instant> = None;
        let mut out: Vec<Ticket> = Vec::new();
        for step in steps {
            let was_closed = breaker.is_closed();
            match step {
                Step::Admit => match breaker.admit(now) {
                    Admission::Go(ticket) => {
                        prop_assert_eq!(ticket.probe.is_none(), was_closed);
                        if !was_closed {
                            prop_assert!(last_probe.is_none_or(|at| at + ms(250) <= now));
                            last_probe = Some(now);
                        }
                        prop_assert!(breaker.time_for(ticket, LONGEST) >= LEAST_PROBE);
                        out.push(ticket);
                    }
                    Admission::At(at) => {
                        prop_assert!(!was_closed && at > now && at - now <= LONGEST_OPEN);
                        prop_assert_eq!(breaker.waits(now), Some(at));
                        prop_assert!(breaker.waits(at).is_none(), "whoever waits goes");
                    }
                },
                Step::Succeed(at) if !out.is_empty() => {
                    let ticket = out.remove(at % out.len());
                    let current = ticket.spell == breaker.spell;
                    let closed = breaker.succeeded(ticket, now, ms(10));
                    prop_assert_eq!(closed, !was_closed && current);
                    prop_assert_eq!(breaker.is_closed(), was_closed || current);
                }
                Step::Fail(at, class) if !out.is_empty() => {
                    let ticket = out.remove(at % out.len());
                    let current = ticket.spell == breaker.spell;
                    let opened = breaker.failed(ticket, class, now, 0.5);
                    prop_assert_eq!(opened, was_closed && !breaker.is_closed());
                    let final_class = matches!(class, ErrorClass::Denied | ErrorClass::Rejected);
                    prop_assert!(!(final_class && current && breaker.is_closed()));
                    prop_assert!(!matches!(class, ErrorClass::Throttled(_)) || !opened);
                }
                Step::Late(at) if !out.is_empty() => {
                    breaker.is_late(out[at % out.len()], now, 0.5);
                    prop_assert!(was_closed || !breaker.is_closed());
                }
                Step::Succeed(_) | Step::Fail(..) | Step::Late(_) => {}
                Step::Wait(ms) => now += Duration::from_millis(ms),
            }
        }
    }
}

fn go(breaker: &mut Breaker, now: Instant) -> Ticket {
    match breaker.admit(now) {
        Admission::Go(ticket) => ticket,
        Admission::At(at) => panic!("it waits for {:?}", at - now),
    }
}

/// `failing` decides each of `attempts` attempts, which follow each other `every` so often. Out:
/// when it opened.
fn run(
    breaker: &mut Breaker,
    mut now: Instant,
    attempts: u32,
    every: Duration,
    mut failing: impl FnMut() -> Option<ErrorClass>,
) -> Option<Instant> {
    for _ in 0..attempts {
        let ticket = go(breaker, now);
        match failing() {
            None => {
                breaker.succeeded(ticket, now, ms(20));
            }
            Some(class) if breaker.failed(ticket, class, now, 0.5) => return Some(now),
            Some(_) => {}
        }
        now += every;
    }
    None
}

/// 20 % of 5xx, 2 % of 429, 1 % of lost replies, at any rate.
#[test]
fn a_destination_that_fails_now_and_then_stays_closed() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut breaker = Breaker::default();
        let every = ms([1, 10, 100, 1_000][seed as usize % 4]);
        let failing = || match random.random::<f64>() {
            0.0..0.21 => Some(ErrorClass::Transient),
            0.21..0.23 => Some(ErrorClass::Throttled(ms(1_000))),
            _ => None,
        };
        let opened = run(&mut breaker, Instant::now(), 50_000, every, failing);
        assert_eq!(opened, None, "seed {seed}");
    }
}

/// However much went well before: after a busy minute, too.
#[test]
fn it_opens_soon_when_nothing_succeeds_any_more_and_at_once_when_it_is_denied() {
    for (class, least, most) in [
        (ErrorClass::Transient, 1_000, 1_050),
        (ErrorClass::Outage, 1_000, 1_050),
        (ErrorClass::Denied, 0, 0),
    ] {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        assert_eq!(run(&mut breaker, now, 60_000, ms(1), || None), None);
        let now = now + ms(60_000);
        let opened = run(&mut breaker, now, 1_000, ms(50), || Some(class)).expect("it opens");
        assert!((ms(least)..=ms(most)).contains(&(opened - now)), "{class}");
    }
}

/// It is back, and fails a fifth of the time as it did before.
#[test]
fn one_probe_that_fails_does_not_open_it_again_unless_it_speaks_of_an_outage() {
    for (class, failures) in [
        (ErrorClass::Transient, SOFT),
        (ErrorClass::Throttled(ms(1)), SOFT),
        (ErrorClass::Outage, 1),
        (ErrorClass::Denied, 1),
    ] {
        let mut breaker = Breaker::default();
        let mut now = Instant::now();
        run(&mut breaker, now, 1, ms(1), || Some(ErrorClass::Denied)).expect("it opens");
        for n in 1..=failures {
            now = breaker.waits(now).expect("not closed");
            let probe = go(&mut breaker, now);
            breaker.failed(probe, class, now, 1.0);
            let open = breaker.number() == 2;
            assert_eq!(open, n == failures, "{class} {n}");
        }
    }
}

/// Many begin at once, as after a wait, and those that fail end before those that do not.
#[test]
fn failures_that_are_quicker_than_successes_do_not_open_it() {
    let mut breaker = Breaker::default();
    let mut now = Instant::now();
    for _ in 0..1_000 {
        let begun: Vec<_> = (0..64).map(|_| go(&mut breaker, now)).collect();
        for (at, ticket) in begun.into_iter().enumerate() {
            now += ms(1);
            if at < 16 {
                assert!(!breaker.failed(ticket, ErrorClass::Transient, now, 0.5));
            } else {
                breaker.succeeded(ticket, now, ms(20));
            }
        }
        now += ms(1_000);
    }
}

#[test]
fn it_opens_when_more_fail_than_not() {
    let mut random = StdRng::seed_from_u64(7);
    let mut breaker = Breaker::default();
    let now = Instant::now();
    let failing = || (random.random::<f64>() < 0.6).then_some(ErrorClass::Transient);
    let opened = run(&mut breaker, now, 10_000, ms(10), failing).expect("it opens");
    assert!(opened - now < ms(5_000), "{:?}", opened - now);
}

/// Attempts hang: it opens long before their time-out, and probes that hang too do not stop the one
/// that comes after the end of the outage.
#[test]
fn an_outage_in_which_all_hangs_ends_with_the_first_probe_after_it() {
    let mut breaker = Breaker::default();
    let mut now = Instant::now();
    run(&mut breaker, now, 100, ms(1), || None);
    let hanging = [0; 3].map(|_| go(&mut breaker, now));
    let in_time = breaker.in_time(LONGEST);
    assert!(in_time <= ms(4_000), "{in_time:?}");
    now += in_time;
    let opened = hanging.map(|ticket| breaker.is_late(ticket, now, 0.5));
    assert_eq!(opened, [false, false, true]);
    let end = now + ms(20_000);
    let mut times = Vec::new();
    while now < end {
        match breaker.admit(now) {
            Admission::Go(ticket) => times.push(breaker.time_for(ticket, LONGEST)),
            Admission::At(at) => now = at,
        }
    }
    assert!(times.iter().filter(|time| **time == LEAST_PROBE).count() * 2 > times.len());
    assert!(
        times.contains(&LONGEST),
        "it may have become slower: {times:?}"
    );
    // What was under way when it opened says nothing of how things are now.
    assert!(!breaker.succeeded(hanging[0], now, LONGEST));
    let after = breaker.waits(now).unwrap_or(now);
    assert!(after - end <= LONGEST_OPEN);
    let probe = go(&mut breaker, after);
    assert!(breaker.succeeded(probe, after, ms(20)) && breaker.is_closed());
}
