//! Fuzz targets of what the daemon reads besides messages and packets: its journal, imported
//! users, its configuration, capture files, and the slots of the rings to the engine.
//!
//! `TANDEM_FUZZ_SECONDS` says for how long each runs (default 1).

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use bolero::check;
use std::time::Duration;
use tandem::config::Config;
use tandem::journal::{Entry, frame};
use tandem::store::import::{check_name, csv_bytes};
use tandem_contract::command::{Command, CommandSlot};
use tandem_contract::event::{Event, EventSlot};
use tandem_hw::port::pcap::{Reader, Record, Writer};

fn budget() -> Duration {
    let seconds = std::env::var("TANDEM_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

/// Calls `target` with random octets as they are, and spliced into each seed.
fn splice(seeds: &[&[u8]], target: fn(&[u8])) {
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    check!().with_test_time(budget()).with_iterations(usize::MAX).for_each(
        move |bytes: &[u8]| {
            target(bytes);
            let (place, rest) = bytes.split_at(bytes.len().min(3));
            let &[high, low, cut] = place else { return };
            for seed in &seeds {
                let at = usize::from(u16::from_be_bytes([high, low])) * seed.len() / 65_536;
                let end = (at + usize::from(cut % 8)).min(seed.len());
                target(&[&seed[..at], rest, &seed[end..]].concat());
            }
        },
    );
}

fn unregistered(contact: &str) -> Entry {
    Entry::Unregistered { aor: "sip:bob@tandem".into(), contact: contact.into() }
}

#[test]
fn journal() {
    let two: Vec<u8> = ["sip:bob@192.0.2.1", "sip:bob@192.0.2.2"]
        .iter()
        .flat_map(|contact| frame::encode(&unregistered(contact)).unwrap())
        .collect();
    splice(&[&two], |bytes| {
        let (entries, damaged) = frame::decode_all(bytes);
        assert!(damaged <= bytes.len() as u64);
        let again: Vec<u8> = entries.iter().flat_map(|it| frame::encode(it).unwrap()).collect();
        assert_eq!(frame::decode_all(&again), (entries, 0));
        // Whatever lies before and behind an entry, it is found.
        let entry = unregistered("sip:bob@192.0.2.3");
        let whole = frame::encode(&entry).unwrap();
        let (entries, _) = frame::decode_all(&[bytes, &whole, bytes].concat());
        assert!(entries.contains(&entry), "{bytes:?}");
    });
}

#[test]
fn csv_import() {
    let seeds: [&[u8]; 3] = [
        b"username,password\nalice,secret\nbob,\"a \"\"quoted\"\" one\"\n",
        b"\xef\xbb\xbfid;username;domain;ha1;ha1b\n1;alice;x.example;0123456789abcdef0123456789abcdef;\n",
        b"user\trealm\tha1_sha256\n# nobody\nbob\tx\t00\n",
    ];
    splice(&seeds, |bytes| {
        let Ok(import) = csv_bytes(bytes, "tandem") else { return };
        let lines = bytes.iter().filter(|octet| matches!(octet, b'\n' | b'\r')).count() + 1;
        assert!(import.users.len() + import.bad.len() <= lines);
        for user in &import.users {
            assert_eq!(check_name("user name", &user.username), Ok(()));
            assert_eq!(check_name("realm", &user.realm), Ok(()));
        }
        for bad in &import.bad {
            assert!(bad.line >= 1 && bad.line <= lines as u64 && !bad.message.is_empty());
        }
    });
}

#[test]
fn configuration() {
    let whole = Config::default().to_documented_toml();
    let seeds: [&[u8]; 3] = [
        whole.as_bytes(),
        b"[sip]\nlisten = [\"[::1]:5060\"]\nrealm = \"x\"\n[media]\ndscp = 46\n",
        b"[registrar]\nalgorithms = [\"MD5\"]\n[call]\nno_answer_s = 3\n",
    ];
    splice(&seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match Config::parse(&text) {
            Ok(config) => {
                assert_eq!(Config::parse(&config.to_documented_toml()), Ok(config));
            }
            Err(problems) => {
                assert!(!problems.is_empty());
                for problem in problems {
                    assert!(problem.line >= 1 && problem.line <= text.lines().count() + 1);
                    assert!(problem.column >= 1 && !problem.message.is_empty());
                }
            }
        }
    });
}

#[test]
fn pcap_file() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for second in 1..4 {
        writer.write(Duration::from_secs(second), &[0x45; 60]).unwrap();
    }
    let seed = writer.finish().unwrap();
    splice(&[&seed], |bytes| {
        let Ok(mut reader) = Reader::new(bytes) else { return };
        let (mut record, mut records) = (Record::default(), Vec::new());
        while let Ok(true) = reader.read(&mut record) {
            let _ = reader.link().datagram(&record.bytes);
            records.push(record.clone());
        }
        let octets: usize = records.iter().map(|record| record.bytes.len() + 16).sum();
        assert!(octets + 24 <= bytes.len(), "nothing is made up");
        let mut writer = Writer::new(Vec::new()).unwrap();
        for record in &records {
            writer.write(record.time, &record.bytes).unwrap();
        }
        let file = writer.finish().unwrap();
        let mut again = Reader::new(file.as_slice()).unwrap();
        for record in &records {
            let mut back = Record::default();
            assert!(again.read(&mut back).unwrap());
            assert_eq!(back.bytes, record.bytes);
        }
        assert!(!again.read(&mut record).unwrap());
    });
}

/// The slot that octets make, the rest of it zero.
fn slot<T: bytemuck::Pod>(bytes: &[u8]) -> T {
    let mut octets = vec![0; size_of::<T>()];
    let len = bytes.len().min(octets.len());
    octets[..len].copy_from_slice(&bytes[..len]);
    bytemuck::pod_read_unaligned(&octets)
}

#[test]
fn ring_slots() {
    let known = (1..11_u8).map(|kind| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, kind, 0, 0, 0]);
    let kinds: Vec<[u8; 16]> = known.chain([[0; 16]]).collect();
    check!().with_test_time(budget()).with_iterations(usize::MAX).for_each(
        move |bytes: &[u8]| {
            ring_slot(bytes);
            if let Some((kind, rest)) = bytes.split_first() {
                ring_slot(&[&kinds[usize::from(*kind) % kinds.len()], rest].concat());
            }
        },
    );
}

// What was understood is said again with the same meaning.
fn ring_slot(bytes: &[u8]) {
    if let Ok((command, sequence)) = Command::from_slot(&slot::<CommandSlot>(bytes)) {
        assert_eq!(Command::from_slot(&command.to_slot(sequence)), Ok((command, sequence)));
    }
    if let Ok(event) = Event::from_slot(&slot::<EventSlot>(bytes)) {
        assert_eq!(Event::from_slot(&event.to_slot()), Ok(event));
    }
}
