//! Two softphones call each other over loopback, without a server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use clap::Parser;
use std::path::Path;
use tandem_ua::args::Cli;
use tandem_ua::error::UaError;
use tandem_ua::report::{CallReport, EndedBy, Report};
use tandem_ua::script::Runner;

/// Starts a phone for a command line.
async fn runner(line: &str) -> (Runner, Cli) {
    let words = std::iter::once("tandem-ua").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
    let runner = Runner::start(cli.options.clone(), std::slice::from_ref(&cli.action)).await;
    (runner.unwrap(), cli)
}

/// Runs both lines; `CALLEE` in the caller's is replaced by the callee's address.
async fn run(callee: &str, caller: &str) -> ((Report, Option<UaError>), (Report, Option<UaError>)) {
    let (b, b_cli) = runner(callee).await;
    let address = b.phone().local().to_string();
    let b = tokio::spawn(async move { b.run(&[b_cli.action]).await });
    // The phone answers 480 until its action runs.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let (a, a_cli) = runner(&caller.replace("CALLEE", &format!("sip:bob@{address}"))).await;
    let a = a.run(&[a_cli.action]).await;
    (a, b.await.unwrap())
}

fn only_call(report: &Report) -> &CallReport {
    assert_eq!(report.calls.len(), 1, "{report:?}");
    &report.calls[0]
}

fn assert_tone(call: &CallReport, hz: f64) {
    let audio = call.audio.as_ref().expect("media was set up");
    let heard = audio.tone_hz.unwrap_or_default();
    assert!((heard - hz).abs() < 3.0, "{hz} Hz was played: {audio:?}");
    // Digits interrupt the tone.
    assert!(audio.tone_share > 0.5, "{audio:?}");
    let level = audio.tone_level_dbov.unwrap_or_default();
    assert!((level + 15.0).abs() < 1.0, "{audio:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tones_digits_and_reports_go_both_ways() {
    let ((a, a_error), (b, b_error)) = run(
        "--user bob --rtcp-interval-ms 400 answer --ring-ms 100 --tone 1000 --dtmf 42*",
        "--user alice --rtcp-interval-ms 400 --codec PCMA call CALLEE --seconds 4 --tone 440 --dtmf 159D#",
    )
    .await;
    assert!(a_error.is_none() && b_error.is_none(), "{a_error:?} {b_error:?}");
    let (a, b) = (only_call(&a), only_call(&b));
    assert_tone(a, 1000.0);
    assert_tone(b, 440.0);
    assert_eq!((a.call.status, b.call.status), (200, 200));
    assert_eq!(a.call.id, b.call.id);
    assert_eq!((a.call.ended_by, b.call.ended_by), (Some(EndedBy::Local), Some(EndedBy::Remote)));
    assert!(a.call.setup_ms.unwrap() >= 100 && a.call.ring_delay_ms.unwrap() < 100, "{a:?}");
    let duration = a.call.duration_ms.unwrap();
    assert!((3_900..5_500).contains(&duration), "{duration}");
    let (ra, rb) = (a.rtp.as_ref().unwrap(), b.rtp.as_ref().unwrap());
    assert_eq!((ra.dtmf.as_str(), rb.dtmf.as_str()), ("42*", "159D#"));
    for (rtp, other) in [(ra, rb), (rb, ra)] {
        assert_eq!(rtp.codec, "PCMA");
        assert_eq!((rtp.lost, rtp.duplicated, rtp.foreign), (0, 0, 0), "{rtp:?}");
        assert!(rtp.rx_packets > 150 && rtp.rx_packets.abs_diff(other.tx_packets) <= 3, "{rtp:?}");
        let rtt = rtp.rtt_ms.expect("RTCP went both ways");
        assert!((0.0..200.0).contains(&rtt), "{rtp:?}");
        assert!(rtp.mos.unwrap() > 3.0 && rtp.rtcp_received > 2, "{rtp:?}");
        // 68,800 bit/s of audio; packets of digits are smaller.
        let rate = rtp.bitrate_bps.unwrap();
        assert!((50_000..72_000).contains(&rate), "{rtp:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_stops_the_held_side_and_resume_starts_it() {
    let ((a, _), (b, _)) = run(
        "--user bob answer --tone 1000 --hold-after 0.3 --resume-after 0.9",
        "--user alice call CALLEE --seconds 3.2 --tone 440 --hold-after 1.4 --resume-after 2.4",
    )
    .await;
    let (a, b) = (only_call(&a), only_call(&b));
    assert_eq!((a.call.holds_sent, a.call.holds_received, a.call.resumes), (1, 1, 2), "{a:?}");
    assert_eq!((b.call.holds_sent, b.call.holds_received, b.call.resumes), (1, 1, 2), "{b:?}");
    // Alice was silent for 0.6 s of 3.2 s, Bob for 1 s; each packet is 20 ms.
    let (sent_a, sent_b) = (a.rtp.as_ref().unwrap().tx_packets, b.rtp.as_ref().unwrap().tx_packets);
    assert!((120..=145).contains(&sent_a), "{sent_a}");
    assert!((100..=125).contains(&sent_b), "{sent_b}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_and_giving_up_are_told() {
    let ((a, error), (b, _)) =
        run("--user bob answer --reject 486", "--user alice call CALLEE").await;
    assert_eq!(error.unwrap().status(), Some(486));
    assert_eq!((only_call(&a).call.status, only_call(&b).call.status), (486, 486));
    assert!(!a.ok && only_call(&a).rtp.is_none());

    let ((a, error), (b, _)) =
        run("--user bob answer --ring-ms 5000", "--user alice call CALLEE --ring-timeout 0.4")
            .await;
    assert!(matches!(error, Some(UaError::NobodyAnswered { .. })), "{error:?}");
    assert_eq!((only_call(&a).call.status, only_call(&b).call.status), (487, 487));
    assert_eq!(only_call(&a).call.setup_ms, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_ipv6_one_port_for_both_and_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heard.wav");
    let ((a, error), (b, _)) = run(
        "--user bob --bind [::1]:0 --transport tcp answer --tone 700",
        &format!(
            "--user alice --transport tcp --rtcp-mux --ptime 40 call CALLEE;transport=tcp --seconds 1.5 --record {}",
            file.display()
        ),
    )
    .await;
    assert!(error.is_none(), "{error:?}");
    let (a, b) = (only_call(&a), only_call(&b));
    assert!(a.rtp.as_ref().unwrap().rtcp_mux && b.rtp.as_ref().unwrap().rtcp_mux);
    assert!(a.rtp.as_ref().unwrap().local.starts_with("[::1]"));
    assert!((30..=42).contains(&a.rtp.as_ref().unwrap().tx_packets), "{a:?}");
    assert_recorded(&file, 700.0);
}

fn assert_recorded(file: &Path, hz: f64) {
    let heard = tandem_ua::script::listen(file).unwrap();
    assert!((heard.tone_hz.unwrap() - hz).abs() < 3.0, "{heard:?}");
    assert!((1.0..2.5).contains(&heard.seconds), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_calls_overlap() {
    let (b, b_cli) = runner("--user bob answer --calls 2 --tone 500").await;
    let target = format!("sip:bob@{}", b.phone().local());
    let b = tokio::spawn(async move { b.run(&[b_cli.action]).await });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let mut callers = Vec::new();
    for _ in 0..2 {
        let (a, cli) = runner(&format!("--user alice call {target} --seconds 1")).await;
        callers.push(tokio::spawn(async move { a.run(&[cli.action]).await }));
    }
    for caller in callers {
        let (report, error) = caller.await.unwrap();
        assert!(error.is_none(), "{error:?}");
        assert_tone(only_call(&report), 500.0);
    }
    let (report, error) = b.await.unwrap();
    assert!(error.is_none(), "{error:?}");
    assert_eq!(report.calls.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_name_what_to_do() {
    let (runner, cli) = runner("--user alice call sip:bob@127.0.0.1:9").await;
    let (report, error) = runner.run(&[cli.action]).await;
    assert_eq!(error.unwrap().exit_code(), 5);
    assert!(report.error.unwrap().contains("127.0.0.1:9"));

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let line = format!("tandem-ua --bind {} answer", taken.local_addr().unwrap());
    let cli = Cli::parse_from(line.split(' '));
    let error = Runner::start(cli.options, &[cli.action]).await.unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert!(error.to_string().contains("--bind"));
}
