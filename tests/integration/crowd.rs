//! More clients than there are places: who is idle makes room for who asks.

use std::net::Ipv4Addr;
use std::time::Duration;

use pointsman::http;
use pointsman::store::Scope;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::TestGateway;
use crate::support::process::Process;

/// Far less than a connection may stay idle.
const SOON: Duration = Duration::from_secs(20);

async fn connect(gateway: &TestGateway, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    timeout(SOON, socket.connect(gateway.app.proxy)).await.unwrap().unwrap()
}

/// Asks, and gives the head of the answer.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut told = Vec::new();
    let answered = async {
        while !told.windows(4).any(|four| four == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut told).await.unwrap() > 0, "closed without an answer");
        }
    };
    timeout(SOON, answered).await.expect("no answer");
    String::from_utf8_lossy(&told).to_lowercase()
}

/// Waits until the gateway hangs up.
async fn hung_up(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // Whether it says so well or by a reset: it is gone.
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it is still open");
}

#[tokio::test]
async fn who_is_idle_for_longest_makes_room_for_a_newcomer() {
    let gateway = TestGateway::start("[server]\nmax_connections = 2").await;
    let here = Ipv4Addr::LOCALHOST;
    let mut first = connect(&gateway, here).await;
    assert!(ask(&mut first, "/").await.contains("200 ok"));
    let mut second = connect(&gateway, here).await;
    assert!(ask(&mut second, "/").await.contains("200 ok"));
    let mut third = connect(&gateway, here).await;
    assert!(ask(&mut third, "/").await.contains("200 ok"));
    hung_up(first).await;
    // Those that never say anything, more than there are places.
    let silent = [connect(&gateway, here).await, connect(&gateway, here).await, connect(&gateway, here).await];
    hung_up(second).await;
    hung_up(third).await;
    let mut last = connect(&gateway, here).await;
    assert!(ask(&mut last, "/").await.contains("200 ok"));
    drop((silent, last));
    gateway.stop().await;
}

/// All of 127.0.0.0/8 is this machine's own here, and nowhere else.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_may_not_come_in_keeps_no_place_and_takes_nobodys() {
    let settings = "[server]\nmax_connections = 2\n[access]\ndeny = ['127.0.0.2/32']";
    let gateway = TestGateway::start(settings).await;
    let denied = Ipv4Addr::new(127, 0, 0, 2);
    let mut refused = connect(&gateway, denied).await;
    let told = ask(&mut refused, "/v1/models").await;
    assert!(told.contains("403 forbidden") && told.contains("connection: close"), "{told}");
    hung_up(refused).await;
    let mut welcome = connect(&gateway, Ipv4Addr::LOCALHOST).await;
    assert!(ask(&mut welcome, "/").await.contains("200 ok"));
    let silent = connect(&gateway, denied).await;
    let mut newcomer = connect(&gateway, Ipv4Addr::LOCALHOST).await;
    assert!(ask(&mut newcomer, "/").await.contains("200 ok"));
    hung_up(silent).await;
    assert!(ask(&mut welcome, "/").await.contains("200 ok"), "it was idle for longer, and may come in");
    gateway.stop().await;
}

#[tokio::test]
async fn who_does_not_go_on_with_its_body_or_takes_no_answers_keeps_no_place() {
    let gateway = TestGateway::start("[server]\nmax_connections = 2").await;
    let begun = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    let mut half = [connect(&gateway, Ipv4Addr::LOCALHOST).await, connect(&gateway, Ipv4Addr::LOCALHOST).await];
    for half in &mut half {
        half.write_all(begun.as_bytes()).await.unwrap();
    }
    let mut deaf = Vec::new();
    for _ in 0..2 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = timeout(SOON, socket.connect(gateway.app.proxy)).await.unwrap().unwrap();
        assert!(ask(&mut stream, "/").await.contains("200 ok"), "others' bodies do not come");
        deaf.push(stream);
    }
    for stream in &mut deaf {
        let asked = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
        while let Ok(written) = timeout(Duration::from_millis(300), stream.write_all(asked.as_bytes())).await {
            written.unwrap();
        }
    }
    let mut newcomer = connect(&gateway, Ipv4Addr::LOCALHOST).await;
    assert!(ask(&mut newcomer, "/").await.contains("200 ok"), "others take nothing of their answers");
    drop((half, deaf, newcomer));
    gateway.stop().await;
}

#[tokio::test]
async fn little_waits_in_the_kernel_for_a_client_that_reads_nothing() {
    let listener = http::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = listener.local_addr().unwrap();
    let (theirs, accepted) = tokio::join!(socket.connect(address), listener.accept());
    let (ours, _) = accepted.unwrap();
    let mut taken = 0;
    let mut waited = 0;
    while waited < 3 {
        match ours.try_write(&[0; 4096]) {
            Ok(bytes) => (taken, waited) = (taken + bytes, 0),
            Err(_) => {
                waited += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    assert!(taken < 3 * (256 << 10), "{taken}");
    drop(theirs);
}

#[tokio::test]
async fn whose_body_stops_coming_while_others_wait_is_told_so() {
    let gateway = TestGateway::start("[server]\nmax_connections = 1").await;
    for path in ["/v1/chat/completions", "/api/feedback"] {
        let mut half = connect(&gateway, Ipv4Addr::LOCALHOST).await;
        let begun = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{");
        half.write_all(begun.as_bytes()).await.unwrap();
        let mut newcomer = connect(&gateway, Ipv4Addr::LOCALHOST).await;
        let mut told = String::new();
        timeout(SOON, half.read_to_string(&mut told)).await.unwrap().unwrap();
        assert!(told.starts_with("HTTP/1.1 408") && told.contains("server.max_connections"), "{path}: {told}");
        assert!(ask(&mut newcomer, "/").await.contains("200 ok"));
        drop(newcomer);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn whose_body_goes_on_coming_keeps_its_place_while_others_wait() {
    let gateway = TestGateway::start("[server]\nmax_connections = 1").await;
    let mut slow = connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut newcomer = connect(&gateway, Ipv4Addr::LOCALHOST).await;
    for byte in b"no json." {
        tokio::time::sleep(Duration::from_millis(300)).await;
        slow.write_all(&[*byte]).await.unwrap();
    }
    let mut told = Vec::new();
    timeout(SOON, slow.read_to_end(&mut told)).await.unwrap().unwrap();
    assert!(told.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&told));
    assert!(ask(&mut newcomer, "/").await.contains("200 ok"));
    gateway.stop().await;
}

#[tokio::test]
async fn who_is_refused_at_the_door_keeps_no_place() {
    let (gateway, tokens) = TestGateway::with_tokens("", &[("a", &[Scope::Chat])]).await;
    let connection = async |token: &str| {
        let response = gateway.http.get(gateway.url("/models")).bearer_auth(token).send().await.unwrap();
        let said = response.headers().get("connection").map(|said| said.to_str().unwrap().to_owned());
        (response.status().as_u16(), said)
    };
    assert_eq!(connection("pm_0000").await, (401, Some("close".into())));
    assert_eq!(connection(&tokens[0]).await, (200, None));
    gateway.stop().await;
}

#[tokio::test]
async fn who_is_refused_while_it_sends_is_told_why() {
    let gateway = TestGateway::start("[access]\nauth = 'required'").await;
    for (path, told) in [("/v1/chat/completions", "401"), ("/nowhere", "40")] {
        let mut stream = connect(&gateway, Ipv4Addr::LOCALHOST).await;
        let bytes = 12 << 20;
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // As most clients do: all of it is sent before anything is read.
        for _ in 0..12 {
            stream.write_all(&vec![b' '; bytes / 12]).await.expect("it hangs up in the middle");
        }
        let mut answer = [0; 16];
        timeout(SOON, stream.read_exact(&mut answer)).await.unwrap().expect("no answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {told}")), "{path}: {answer}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn nobody_waits_for_the_body_of_a_refused_request() {
    let gateway = TestGateway::start("[access]\nauth = 'required'\n[server]\nmax_connections = 1").await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n";
    let refused = async || {
        let mut slow = connect(&gateway, Ipv4Addr::LOCALHOST).await;
        slow.write_all(head.as_bytes()).await.unwrap();
        slow
    };
    let goes_on = |mut slow: TcpStream| {
        tokio::spawn(async move {
            while slow.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    };
    let hung_up =
        async |sender: JoinHandle<()>| timeout(SOON, sender).await.expect("its body is still read").unwrap();
    let first = goes_on(refused().await);
    let mut newcomer = connect(&gateway, Ipv4Addr::LOCALHOST).await;
    assert!(ask(&mut newcomer, "/").await.contains("200 ok"));
    hung_up(first).await;
    drop(newcomer);
    let second = goes_on(refused().await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    timeout(SOON, gateway.stop()).await.expect("the gateway waits for it");
    hung_up(second).await;
}

/// The process has fewer file descriptors than `server.max_connections`.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_is_idle_makes_room_also_where_descriptors_run_out() {
    let dir = tempfile::tempdir().unwrap();
    let most = 200 + 20 * std::thread::available_parallelism().unwrap().get();
    let process = Process::sandbox_with(dir.path(), most, &[]);
    let address: std::net::SocketAddr = process.proxy.trim_start_matches("http://").parse().unwrap();
    let mut idle = Vec::new();
    for at in 0..most + 20 {
        let mut stream = timeout(SOON, TcpStream::connect(address)).await.unwrap().unwrap();
        assert!(ask(&mut stream, "/ready").await.contains("200 ok"), "connection {at}");
        idle.push(stream);
    }
    drop(idle);
    assert!(process.stop().1);
}
