use super::*;
use cloudsync_runtime::Readiness;
use futures::future::join_all;

/// Partitions of a destination.
const PARTITIONS: usize = 12;

fn gate() -> Gate {
    let limits = Limits {
        attempt_timeout: Duration::from_secs(30),
        concurrency: 64,
        failure_percent: 50,
        retry_percent: 50,
    };
    Gate::new(
        limits,
        Arc::default(),
        Health::new(&Readiness::new(), "aws"),
    )
}

fn error(class: ErrorClass) -> SinkError {
    SinkError::new(class, "write", "no")
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// One upload after another at each partition until `end`; what an upload does says `outcome`.
/// Out: the times of all attempts, and of all that were taken.
async fn uploads<F>(gate: &Gate, end: Instant, outcome: impl Fn() -> F + Sync) -> [Vec<Instant>; 2]
where
    F: Future<Output = Result<(), SinkError>> + Send,
{
    let times = [Mutex::new(Vec::new()), Mutex::new(Vec::new())];
    let give_up = CancellationToken::new();
    let partition = async || {
        while Instant::now() < end {
            let attempt = || {
                times[0].lock().push(Instant::now());
                outcome()
            };
            let done = gate.until_done(&give_up, attempt).await;
            assert_eq!(done, Some(()), "nothing is given up");
            times[1].lock().push(Instant::now());
            sleep(Duration::from_millis(200)).await;
        }
    };
    join_all((0..PARTITIONS).map(|_| partition())).await;
    times.map(Mutex::into_inner)
}

/// Errors or silence: it opens within 5 s, asks only now and then, and goes on within 10 s.
#[tokio::test(start_paused = true)]
async fn an_outage_is_noticed_waited_for_and_over_in_time() {
    for hangs in [false, true] {
        let (gate, began) = (gate(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        let (from, to) = (after(20), after(80));
        let opened = Mutex::new(None);
        let watch = async {
            while gate.is_closed() {
                sleep(Duration::from_millis(10)).await;
            }
            *opened.lock() = Some(Instant::now());
        };
        let outcome = || async {
            sleep(Duration::from_millis(20)).await;
            match Instant::now() {
                now if now < from || now >= to => Ok(()),
                _ if hangs => std::future::pending().await,
                _ => Err(error(ErrorClass::Transient)),
            }
        };
        let ([attempts, taken], ()) = tokio::join!(uploads(&gate, after(100), outcome), watch);
        let opened = opened.lock().take().unwrap();
        assert!(
            opened >= from && opened - from < Duration::from_secs(5),
            "{hangs}"
        );
        let during = attempts
            .iter()
            .filter(|at| (opened..to).contains(at))
            .count();
        assert!(during <= 65, "{during} attempts in a minute, hangs {hangs}");
        let first = taken.iter().filter(|at| **at >= to).min().unwrap();
        assert!(*first - to < Duration::from_secs(10), "{:?}", *first - to);
        assert!(gate.is_closed());
        assert_eq!(get(&gate.counters.breaker_opened), 1);
    }
}

/// A fifth fails for ever: nobody is stopped, and nobody waits long for the budget.
#[tokio::test(start_paused = true)]
async fn faults_now_and_then_neither_open_it_nor_stop_a_partition() {
    let (gate, began) = (gate(), Instant::now());
    let number = AtomicU64::new(0);
    let outcome = || {
        let class = match number.fetch_add(1, Ordering::Relaxed) % 10 {
            0 | 5 => Some(ErrorClass::Transient),
            _ => None,
        };
        async move { class.map_or(Ok(()), |class| Err(error(class))) }
    };
    let [attempts, taken] = uploads(&gate, began + Duration::from_secs(60), outcome).await;
    assert_eq!(get(&gate.counters.breaker_opened), 0);
    assert!(taken.len() > 2_500, "{}", taken.len());
    assert!(attempts.len() < taken.len() * 4 / 3);
}

/// One asked for time, and all leave the destination alone.
#[tokio::test(start_paused = true)]
async fn who_is_asked_for_time_is_left_alone_by_all() {
    let (gate, began) = (gate(), Instant::now());
    let seven = Duration::from_secs(7);
    let asked = AtomicU64::new(0);
    let outcome = || {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            match first {
                true => Err(error(ErrorClass::Throttled(seven))),
                false => Ok(()),
            }
        }
    };
    let [attempts, _] = uploads(&gate, began + Duration::from_secs(20), outcome).await;
    let early = attempts.iter().filter(|at| **at < began + seven).count();
    assert_eq!(early, 1, "the first alone");
    assert_eq!(get(&gate.counters.breaker_opened), 0);
}

/// Denied for a while: at once nobody tries but a probe, and the alarm ends with the first success.
#[tokio::test(start_paused = true)]
async fn denied_is_an_alarm_until_somebody_is_let_in() {
    let (gate, began) = (gate(), Instant::now());
    let minute = began + Duration::from_secs(60);
    let alarms = AtomicU64::new(0);
    let outcome = || async {
        if Instant::now() >= minute {
            return Ok(());
        }
        alarms.fetch_max(get(&gate.counters.denied), Ordering::Relaxed);
        Err(error(ErrorClass::Denied))
    };
    let [attempts, _] = uploads(&gate, minute, outcome).await;
    assert_eq!(get(&alarms), 1);
    assert_eq!(get(&gate.counters.denied), 0);
    assert_eq!(get(&gate.counters.breaker_opened), 1);
    assert!(attempts.len() < 70, "{}", attempts.len());
}
