//! The journal against crashes, damage and a store that fails.

use super::*;
use crate::record::{Cause, ReleasedBy};
use crate::store::sqlite::SqliteStore;
use crate::store::users::User;
use crate::store::{RecordPage, RecordQuery};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const CHILD_FOLDER: &str = "TANDEM_TEST_JOURNAL";

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn setup(n: i64) -> Entry {
    Entry::CallSetup(CallSetup {
        id: format!("call-{n:06}"),
        key: n.unsigned_abs(),
        from: "sip:a@tandem".into(),
        to: "sip:b@tandem".into(),
        started_at: time(n),
    })
}

fn answered(n: i64) -> Entry {
    Entry::CallAnswered(CallAnswered {
        id: format!("call-{n:06}"),
        ringing_at: None,
        answered_at: time(n + 1),
        revision: 0,
        resume: Some(n.to_be_bytes().as_slice().into()),
    })
}

fn ended(n: i64) -> Entry {
    Entry::CallEnded(Box::new(CallRecord {
        id: format!("call-{n:06}"),
        from: "sip:a@tandem".into(),
        to: "sip:b@tandem".into(),
        started_at: time(n),
        ringing_at: None,
        answered_at: Some(time(n + 1)),
        ended_at: time(n + 2),
        setup_ms: Some(1000),
        ring_ms: None,
        duration_ms: Some(1000),
        cause: Cause { sip_status: 200, text: "hung up".into(), by: ReleasedBy::Caller },
        recovered: false,
        referred_by: None,
        legs: Vec::new(),
    }))
}

fn registered(user: &str, lives_s: i64) -> Entry {
    let now = Timestamp::now();
    Entry::Registered(Box::new(Registration {
        aor: format!("sip:{user}@tandem"),
        contact: format!("sip:{user}@192.0.2.1"),
        transport: "udp".into(),
        received: None,
        local: None,
        path: Vec::new(),
        q_milli: 1000,
        registered_at: now,
        expires_at: now + jiff::SignedDuration::from_secs(lives_s),
        call_id: "c".into(),
        cseq: 1,
        instance: None,
        reg_id: None,
        user_agent: None,
    }))
}

fn store_in(folder: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(&folder.join("t.db")).unwrap())
}

fn all_records(store: &dyn Store) -> Vec<String> {
    let mut ids = Vec::new();
    let mut query = RecordQuery { limit: 1000, ..RecordQuery::default() };
    loop {
        let page = store.records(&query).unwrap();
        ids.extend(page.records.into_iter().map(|record| record.id));
        match page.next {
            Some(next) => query.before = Some(next),
            None => break,
        }
    }
    ids.reverse();
    ids
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn records_reach_the_store_and_a_clean_end_leaves_no_segment() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let path = folder.path().join("journal");
    let (journal, recovered) = Journal::open(&path, store.clone()).unwrap();
    assert_eq!(recovered, Recovered::default());
    for n in 0..3 {
        journal.append(setup(n));
        journal.append(answered(n));
        journal.append(ended(n));
    }
    wait_for("moved", || all_records(store.as_ref()).len() == 3);
    assert!(journal.counters().syncs.load(Ordering::Relaxed) >= 1);
    journal.close();
    assert_eq!(segments(&path), Vec::<PathBuf>::new());
    assert_eq!(journal.counters().entries.load(Ordering::Relaxed), 9);
}

#[test]
fn living_calls_and_registrations_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path, store.clone()).unwrap();
    for entry in [setup(1), setup(2), answered(2), setup(3), ended(3)] {
        journal.append(entry);
    }
    for entry in [registered("alice", 600), registered("bob", 600), registered("carol", -1)] {
        journal.append(entry);
    }
    journal.append(Entry::Unregistered {
        aor: "sip:bob@tandem".into(),
        contact: "sip:bob@192.0.2.1".into(),
    });
    journal.close();
    // Twice: what comes back must survive a further restart.
    for _ in 0..2 {
        let (journal, recovered) = Journal::open(&path, store.clone()).unwrap();
        let ids: Vec<_> = recovered.alive.iter().map(|call| call.setup.id.as_str()).collect();
        assert_eq!(ids, ["call-000001", "call-000002"]);
        assert_eq!(recovered.alive[0].answered, None);
        let answer = recovered.alive[1].answered.as_ref().unwrap();
        assert_eq!(answer.resume.as_deref(), Some(&2_i64.to_be_bytes()[..]));
        let aors: Vec<_> = recovered.registrations.iter().map(|r| r.aor.as_str()).collect();
        assert_eq!(aors, ["sip:alice@tandem"]);
        assert_eq!(segments(&path).len(), 1);
        journal.close();
    }
    let (journal, _) = Journal::open(&path, store.clone()).unwrap();
    journal.append(ended(1));
    journal.append(ended(2));
    journal.close();
    assert_eq!(segments(&path).len(), 0);
    let (_journal, recovered) = Journal::open(&path, store).unwrap();
    assert_eq!(recovered.alive, []);
}

#[test]
fn replaying_is_idempotent() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let path = folder.path().join("journal");
    std::fs::create_dir_all(&path).unwrap();
    let frames: Vec<u8> = (0..4).flat_map(|n| frame::encode(&ended(n)).unwrap()).collect();
    for _ in 0..2 {
        std::fs::write(path.join("00000000000000000007.tj"), &frames).unwrap();
        let (journal, recovered) = Journal::open(&path, store.clone()).unwrap();
        assert_eq!(recovered.replayed, 4);
        journal.close();
        assert_eq!(all_records(store.as_ref()).len(), 4);
    }
}

#[test]
fn segments_rotate_and_living_calls_are_carried_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path, store.clone()).unwrap();
    journal.append(setup(0));
    let mut big = answered(0);
    if let Entry::CallAnswered(answer) = &mut big {
        answer.resume = Some(vec![b'x'; 900_000].into());
    }
    for _ in 0..20 {
        journal.append(big.clone());
    }
    journal.append(ended(1));
    wait_for("rotated", || {
        let paths = segments(&path);
        paths.len() == 1 && paths[0].ends_with("00000000000000000002.tj")
    });
    wait_for("moved", || all_records(store.as_ref()).len() == 1);
    drop(journal);
    let (_journal, recovered) = Journal::open(&path, store).unwrap();
    assert_eq!(recovered.alive.len(), 1);
    assert!(recovered.alive[0].answered.is_some());
}

#[test]
fn what_is_carried_over_does_not_hide_what_is_newer() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let path = folder.path().join("journal");
    let state = |revision: u8| {
        let Entry::CallAnswered(mut answer) = answered(0) else { unreachable!() };
        (answer.revision, answer.resume) = (revision.into(), Some([revision].as_slice().into()));
        Entry::CallAnswered(answer)
    };
    let acknowledged =
        |revision| Entry::CallAcknowledged(CallAcknowledged { id: "call-000000".into(), revision });
    std::fs::create_dir_all(&path).unwrap();
    for (order, known) in [
        (vec![state(2), state(1)], false),
        (vec![state(1), state(2), acknowledged(1)], false),
        (vec![state(1), acknowledged(1), state(2), acknowledged(2)], true),
        (vec![state(2), acknowledged(2), state(1), acknowledged(1)], true),
    ] {
        let entries = [vec![setup(0)], order].concat();
        let frames: Vec<u8> = entries.iter().flat_map(|it| frame::encode(it).unwrap()).collect();
        std::fs::write(path.join("00000000000000000001.tj"), &frames).unwrap();
        // Twice, once from the old segment and once from what was carried over.
        for _ in 0..2 {
            let (journal, recovered) = Journal::open(&path, store.clone()).unwrap();
            let call = &recovered.alive[0];
            assert_eq!(call.answered.as_ref().unwrap().resume.as_deref(), Some(&[2][..]));
            assert_eq!(call.acknowledged, known);
            journal.close();
        }
        for segment in segments(&path) {
            std::fs::remove_file(path.join(segment)).unwrap();
        }
    }
}

#[test]
fn what_can_wait_goes_out_with_the_next_entry_or_soon() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path, store).unwrap();
    let entries = || {
        let segment = segments(&path).pop().unwrap();
        frame::decode_all(&std::fs::read(path.join(segment)).unwrap()).0
    };
    journal.append_later(setup(0));
    journal.append(setup(1));
    assert_eq!(entries(), [setup(0), setup(1)]);
    journal.append_later(setup(2));
    wait_for("written", || entries().len() == 3);
}

/// Appends calls for ever and says which append returned; runs as a child of the next test.
#[test]
#[ignore = "runs as the child of nothing_acknowledged_is_lost_by_kill_9"]
fn appending_child() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let folder = PathBuf::from(folder);
    let (journal, _) = Journal::open(&folder.join("journal"), store_in(&folder)).unwrap();
    let mut out = std::io::stdout().lock();
    for n in 0.. {
        journal.append(setup(n));
        if n % 3 != 0 {
            journal.append(ended(n));
        }
        writeln!(out, "done {n}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    for round in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::tests::appending_child", "--ignored", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = None;
        let mut read = |line: String| {
            if let Some((_, n)) = line.split_once("done ") {
                last = n.parse::<i64>().ok();
            }
        };
        // The moment of the kill differs: before, within and after group commits.
        for line in lines.by_ref().take(50 + 700 * round) {
            read(line.unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(read);
        let last = last.unwrap();
        let store = store_in(folder.path());
        let (_journal, recovered) =
            Journal::open(&folder.path().join("journal"), store.clone()).unwrap();
        let kept = all_records(store.as_ref());
        let alive: Vec<_> = recovered.alive.iter().map(|call| &call.setup.id).collect();
        for n in 0..=last {
            let id = format!("call-{n:06}");
            if n % 3 == 0 {
                assert!(alive.contains(&&id), "{id} was alive, round {round}");
            } else {
                assert!(kept.contains(&id), "{id} had ended, round {round}");
                assert!(!alive.contains(&&id), "{id} is not alive, round {round}");
            }
        }
    }
}

/// A store that fails, or is slow, while told so.
#[derive(Debug)]
struct Failing {
    inner: Arc<dyn Store>,
    fails: AtomicBool,
    slow: AtomicBool,
}

/// How long the store takes when it is slow.
const SLOW: Duration = Duration::from_millis(900);

impl Store for Failing {
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.slow.load(Ordering::Relaxed) {
            std::thread::sleep(SLOW);
        }
        if self.fails.load(Ordering::Relaxed) {
            Err(StoreError::Closed)
        } else {
            self.inner.apply(batch)
        }
    }
    fn records(&self, query: &RecordQuery) -> Result<RecordPage, StoreError> {
        self.inner.records(query)
    }
    fn record(&self, id: &str) -> Result<Option<CallRecord>, StoreError> {
        self.inner.record(id)
    }
    fn registrations(&self, now: Timestamp) -> Result<Vec<Registration>, StoreError> {
        self.inner.registrations(now)
    }
    fn put_users(&self, users: Vec<User>) -> Result<Vec<bool>, StoreError> {
        self.inner.put_users(users)
    }
    fn set_numbers(&self, _: &str, _: &str, _: &[String]) -> Result<bool, StoreError> {
        Err(StoreError::Closed)
    }

    fn remove_user(&self, username: &str, realm: &str) -> Result<bool, StoreError> {
        self.inner.remove_user(username, realm)
    }
    fn users(&self) -> Result<Vec<User>, StoreError> {
        self.inner.users()
    }
    fn users_version(&self) -> Result<i64, StoreError> {
        self.inner.users_version()
    }
}

#[test]
fn a_store_that_fails_is_tried_again_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Failing {
        inner: store_in(folder.path()),
        fails: AtomicBool::new(false),
        slow: AtomicBool::new(false),
    });
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path, store.clone()).unwrap();
    store.fails.store(true, Ordering::Relaxed);
    journal.append(ended(1));
    wait_for("refused", || journal.counters().store_errors.load(Ordering::Relaxed) > 0);
    assert_eq!(journal.counters().unmoved.load(Ordering::Relaxed), 1);
    store.fails.store(false, Ordering::Relaxed);
    wait_for("moved", || all_records(store.as_ref()).len() == 1);
    // Still failing at the end: the segment stays and is read at the next start.
    store.fails.store(true, Ordering::Relaxed);
    journal.append(ended(2));
    journal.close();
    assert!(!segments(&path).is_empty());
    store.fails.store(false, Ordering::Relaxed);
    let (_journal, recovered) = Journal::open(&path, store.clone()).unwrap();
    assert_eq!(recovered.replayed, 2);
    assert_eq!(all_records(store.as_ref()).len(), 2);
}

/// Longest time to a sync while the store is slow.
fn sync_time_with_a_slow_store() -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Failing {
        inner: store_in(folder.path()),
        fails: AtomicBool::new(false),
        slow: AtomicBool::new(false),
    });
    let (journal, _) = Journal::open(&folder.path().join("journal"), store.clone()).unwrap();
    store.slow.store(true, Ordering::Relaxed);
    let first = journal.counters().syncs.load(Ordering::Relaxed);
    journal.append(ended(1));
    wait_for("first sync", || journal.counters().syncs.load(Ordering::Relaxed) > first);
    // The store holds the first batch for a while; the second entry is synced meanwhile.
    let start = Instant::now();
    journal.append(ended(2));
    wait_for("second sync", || journal.counters().syncs.load(Ordering::Relaxed) > first + 1);
    assert!(start.elapsed() < SLOW, "{:?}", start.elapsed());
    assert_eq!(all_records(store.as_ref()).len(), 0);
    journal.close();
    assert_eq!(all_records(store.as_ref()).len(), 2);
    Duration::from_micros(journal.counters().sync_max_us.load(Ordering::Relaxed))
}

#[test]
fn a_slow_store_does_not_delay_the_sync() {
    // A disk that others keep busy may take long once, but not each time.
    let mut times: Vec<Duration> = Vec::new();
    while times.len() < 4 && times.last().is_none_or(|time| *time > SYNC_WITHIN) {
        times.push(sync_time_with_a_slow_store());
    }
    let last = times.last().unwrap();
    assert!(*last > Duration::ZERO && *last <= SYNC_WITHIN, "{times:?}");
}

#[test]
fn a_record_that_is_too_large_is_kept_without_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let (journal, _) = Journal::open(&folder.path().join("journal"), store.clone()).unwrap();
    let Entry::CallEnded(mut record) = ended(1) else { unreachable!() };
    record.legs = vec![crate::record::LegReport::default(); 3_000];
    journal.append(Entry::CallEnded(record));
    journal.close();
    assert_eq!(all_records(&*store), ["call-000001"]);
    assert!(store.record("call-000001").unwrap().unwrap().legs.is_empty());
}

#[test]
fn a_call_that_has_its_record_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path, store.clone()).unwrap();
    journal.append(ended(1));
    journal.close();
    // Its set-up was carried over to a segment that outlived the one with its end.
    std::fs::write(path.join("00000000000000000009.tj"), frame::encode(&setup(1)).unwrap())
        .unwrap();
    let (_journal, recovered) = Journal::open(&path, store).unwrap();
    assert_eq!(recovered.alive, []);
}

#[test]
fn a_full_disk_keeps_entries_in_memory_and_they_reach_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path, store.clone()).unwrap();
    // /dev/full answers every write as a full disk does.
    journal.inner.lock().segment = Some(Segment::on_device(Path::new("/dev/full")).unwrap());
    journal.append(ended(1));
    journal.append(ended(2));
    assert_eq!(journal.counters().unwritten.load(Ordering::Relaxed), 2);
    assert!(journal.counters().write_errors.load(Ordering::Relaxed) >= 1);
    wait_for("moved", || all_records(store.as_ref()).len() == 2);
    // Space again: the waiting frames are written, in order.
    let again = Folder::open(&path).unwrap().begin().unwrap();
    let file = again.path().to_owned();
    journal.inner.lock().segment = Some(again);
    journal.append(ended(3));
    wait_for("written", || journal.counters().unwritten.load(Ordering::Relaxed) == 0);
    let (entries, damaged) = frame::decode_all(&std::fs::read(file).unwrap());
    assert_eq!((entries, damaged), (vec![ended(1), ended(2), ended(3)], 0));
    assert_eq!(journal.counters().entries_lost.load(Ordering::Relaxed), 0);
}

#[test]
fn a_folder_that_cannot_be_written_is_named_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Journal::open(&file.join("journal"), store_in(folder.path())).unwrap_err();
    assert!(error.to_string().contains("--data"), "{error}");
}
