//! What keeps the server up, and what is seen of it.

use std::time::Duration;

use examples::server::{
    CANCEL, EXECUTION_CONTEXT, HEALTH, INITIATE, LINE_ITEMS_CONFIRMED, METRICS, OPENAPI, PAYMENT_WEBHOOK, READY,
    ROLL_BACK,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::fixture::{NEW_PLAN, Running, problem, with};

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let server = Running::start(&["--body-bytes-max", "4096"]).await;
    let large = with(NEW_PLAN, &[("/userId", json!("x".repeat(5_000)))]);
    problem(server.initiate(large.clone()).await, 413, "PAYLOAD_TOO_LARGE").await;
    let webhook = server.post(PAYMENT_WEBHOOK).body(large).send().await.unwrap();
    problem(webhook, 413, "PAYLOAD_TOO_LARGE").await;
    assert_eq!(server.initiate(NEW_PLAN).await.status(), 200);
    server.stop().await;
}

/// A request whose body does not come, on an open connection.
async fn hanging(server: &Running) -> TcpStream {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {PAYMENT_WEBHOOK} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 100\r\n\r\n{{");
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
}

#[tokio::test]
async fn more_requests_than_can_be_worked_on_are_turned_away_at_once() {
    let server = Running::start(&["--requests-max", "1"]).await;
    let hanging = hanging(&server).await;
    let began = std::time::Instant::now();
    let overloaded = loop {
        let answer = server.initiate("{}").await;
        if answer.status() == 503 {
            break answer;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "nothing was turned away");
    };
    assert_eq!(overloaded.headers()["retry-after"], "1");
    problem(overloaded, 503, "OVERLOADED").await;
    assert_eq!(server.get(HEALTH).send().await.unwrap().status(), 200, "looks are not limited");
    drop(hanging);
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let server = Running::start(&["--answer-within-ms", "100", "--request-timeout-ms", "300"]).await;
    let mut hanging = hanging(&server).await;
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_buf(&mut hanging, &mut answer);
    tokio::time::timeout(Duration::from_secs(10), read).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 504"), "{}", String::from_utf8_lossy(&answer));
    server.stop().await;
}

#[tokio::test]
async fn the_server_says_that_it_lives_and_works_and_what_it_counted() {
    let server = Running::start(&[]).await;
    for path in [HEALTH, READY] {
        let probe: Value = server.get(path).send().await.unwrap().json().await.unwrap();
        assert_eq!(probe["status"], "ok");
    }
    let token = server.token("user_123", "CUSTOMER");
    let answer = server.post(INITIATE).bearer_auth(token).header("x-request-id", "req-7").body(NEW_PLAN);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "req-7");
    let given = server.get(HEALTH).header("x-request-id", "x".repeat(200)).send().await.unwrap();
    assert_eq!(given.headers()["x-request-id"].len(), 36, "an id that is none is replaced");
    let counted = server.get(METRICS).send().await.unwrap().text().await.unwrap();
    let route = format!("http_requests_total{{method=\"POST\",route=\"{INITIATE}\",status=\"200\"}}");
    for name in [route.as_str(), "http_request_seconds_bucket", "saga_started_total{definition=\"checkout-initiate\"}"]
    {
        assert!(counted.contains(name), "{name} is missing in\n{counted}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_documentation_tells_of_every_route_and_no_other() {
    let server = Running::start(&[]).await;
    let openapi: Value = server.get(OPENAPI).send().await.unwrap().json().await.unwrap();
    let mut documented: Vec<(&str, &str)> = Vec::new();
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        documented.extend(methods.as_object().unwrap().keys().map(|method| (path.as_str(), method.as_str())));
    }
    documented.sort_unstable();
    let mut routes = [
        (INITIATE, "post"),
        (EXECUTION_CONTEXT, "get"),
        (CANCEL, "post"),
        (ROLL_BACK, "post"),
        (PAYMENT_WEBHOOK, "post"),
        (LINE_ITEMS_CONFIRMED, "post"),
        (HEALTH, "get"),
        (READY, "get"),
        (METRICS, "get"),
        (OPENAPI, "get"),
    ];
    routes.sort_unstable();
    assert_eq!(documented, routes);
    for (path, method) in routes {
        let right = if method == "get" { server.get(path) } else { server.post(path) };
        let right = right.send().await.unwrap().status();
        assert!(right != 404 && right != 405, "{method} {path}: {right}");
        let wrong = if method == "get" { server.post(path) } else { server.get(path) };
        problem(wrong.send().await.unwrap(), 405, "METHOD_NOT_ALLOWED").await;
    }
    problem(server.get("/nowhere").send().await.unwrap(), 404, "NOT_FOUND").await;
    let text = openapi.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(openapi["components"]["schemas"].get(name).is_some(), "{name} is not documented");
    }
    server.stop().await;
}
