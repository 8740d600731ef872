//! The same jobs, where the processes talk by TLS; and who is not talked to.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use millstream_coordinator::driver::Session as _;
use millstream_coordinator::machine::Event;
use millstream_coordinator::remote::{Process, session};
use millstream_protocol::id::WorkerIndex;
use millstream_testkit::{Authority, Certificate};
use millstream_transport::Transport;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::{PATIENCE, Place, Running};
use crate::{SLOW, check_large, output, place, signal, wanted, workers};

const LOOK_EVERY: Duration = Duration::from_millis(5);
const RUN: [&str; 7] = ["run", "job.yaml", "--workers", "3", "--threads", "1", "--tls"];

/// A place with files of a new CA in `tls`.
fn secured() -> Place {
    let place = place();
    renew(&place);
    place
}

/// Puts files of another CA in the place of those that are there.
fn renew(place: &Place) {
    Authority::new("ca of the job").write(&place.path("tls"), &Certificate::default());
}

pub(crate) fn by_tls_a_job_puts_out_the_same_also_when_files_are_renewed_and_workers_killed() {
    let wanted = wanted();
    let place = secured();
    let args = [&RUN[..], &["tls"], &SLOW].concat();
    let killed = || {
        // What runs has the old files; what comes has the new ones, and no word for the old CA.
        renew(&place);
        let all = workers(&place);
        assert_eq!(all.len(), 3);
        signal("-KILL", all[1]);
    };
    let ran = place.run_through("seen 10000 of it", &args, killed);
    assert!(ran.err.contains("restarts"), "{}", ran.err);
    assert!(ran.err.contains("takes new certificates from tls"), "{}", ran.err);
    assert!(!ran.err.contains("refuses a connection"), "{}", ran.err);
    assert_eq!(output(&place, &ran), wanted);
    assert_eq!(workers(&place), [] as [u32; 0]);
}

pub(crate) fn by_tls_records_of_eight_megabytes_pass_between_processes() {
    check_large(&secured(), &["--tls", "tls"]);
}

pub(crate) fn a_worker_with_tls_refuses_who_has_none_and_says_so() {
    let place = secured();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--announce", "address", "--tls", "tls"];
    let mut running = Running::start(&place, &serve);
    let address = announced(&place);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    running.wait_for("refuses a connection from 127.0.0.1: it does not speak TLS: start it with ");
    running.interrupt();
    assert_eq!(running.end().code, Some(0));
}

pub(crate) fn a_coordinator_of_another_ca_calls_in_vain_until_its_files_are_mended() {
    let place = place();
    let ca = Authority::new("ca");
    ca.write(&place.path("tls"), &Certificate::default());
    let other = place.path("other");
    Authority::new("other").write(&other, &Certificate::default());
    let serve = ["serve", "--listen", "127.0.0.1:0", "--announce", "address", "--tls", "tls"];
    let mut running = Running::start(&place, &serve);

    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let (_tell, address) = watch::channel(Some(Process { address: announced(&place), pod: None }));
    let (roster, mut session) = session("default/sums", Transport::tls(&other).unwrap());
    roster.add(WorkerIndex(0), address, None);
    running.wait_for(
        "refuses a connection from 127.0.0.1, for the 10th time: it refuses the certificate in \
         tls/tls.crt (UnknownCA): ",
    );
    ca.write(&other, &Certificate::default());
    let attached = runtime.block_on(async { timeout(PATIENCE, session.recv()).await.unwrap() });
    assert!(matches!(attached, Some(Event::Attached(WorkerIndex(0)))), "{attached:?}");
    running.interrupt();
    assert_eq!(running.end().code, Some(0));
}

/// Where a worker listens, once it says so.
fn announced(place: &Place) -> String {
    for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
        if let Ok(address) = fs::read_to_string(place.path("address")) {
            return address;
        }
        sleep(LOOK_EVERY);
    }
    panic!("it does not say where it listens");
}

pub(crate) fn files_of_no_use_are_bad_input() {
    let place = secured();
    let file = place.path("tls").join("tls.key");
    let serve = &["serve", "--listen", "127.0.0.1:0", "--tls", "tls"];
    for args in [&[&RUN[..], &["tls"]].concat()[..], serve] {
        fs::write(&file, "no key\n").unwrap();
        let lacks = "--tls: tls/tls.key holds no private key: it must have one as PEM, \
                     -----BEGIN PRIVATE KEY-----, not encrypted";
        place.run(args).refused(2, lacks);
        fs::remove_file(&file).unwrap();
        let gone = "--tls: cannot read tls/tls.key: No such file or directory (os error 2): the \
                    folder must hold ca.crt, tls.crt and tls.key";
        place.run(args).refused(2, gone);
    }
    let alone = place.run(&["run", "job.yaml", "--tls", "tls"]);
    assert!(alone.code == Some(2) && alone.err.contains("--workers <WORKERS>"), "{alone:?}");
}
