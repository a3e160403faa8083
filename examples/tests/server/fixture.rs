//! A server in this process, on a port and a file of its own, and a client for it.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use examples::server::{Config, EXECUTION_CONTEXT, INITIATE, PAYMENT_WEBHOOK, STAND_IN, Server, TokenFor, token};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const NEW_PLAN: &str =
    include_str!("../../../checkout-workflows/tests/fixtures/initiate/new_plan_purchase.request.json");
pub(crate) const TIP: &str =
    include_str!("../../../checkout-workflows/tests/fixtures/initiate/tip_update.request.json");
pub(crate) const RENEWAL: &str =
    include_str!("../../../checkout-workflows/tests/fixtures/initiate/renewal_payable_zero.request.json");
pub(crate) const WEBHOOK_SECRET: &[u8] = b"insecure-dev-webhook-secret";
const WAIT_MAX: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    config: Config,
}

/// The settings of these flags.
pub(crate) fn config(flags: &[&str]) -> Config {
    Args::try_parse_from(["server"].iter().chain(flags)).unwrap().config
}

/// A server that runs, and how to talk to it.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) config: Config,
    pub(crate) client: reqwest::Client,
    stop: CancellationToken,
    run: JoinHandle<()>,
    _dir: Option<TempDir>,
}

impl Running {
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut running = Self::on(dir.path(), flags).await;
        running._dir = Some(dir);
        running
    }

    /// On the file in this directory.
    pub(crate) async fn on(dir: &Path, flags: &[&str]) -> Self {
        let database = format!("sqlite://{}", dir.join("initiate.db").display());
        let basic =
            ["--insecure-dev", "--listen", "127.0.0.1:0", "--database-url", &database, "--lease-ttl-ms", "2000"];
        let config = config(&[&basic[..], flags].concat());
        let server = Server::bind(&config).await.unwrap();
        let url = format!("http://{}", server.address());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let run = tokio::spawn(async move { server.run(stopped).await.unwrap() });
        Self { url, config, client: reqwest::Client::new(), stop, run, _dir: None }
    }

    /// As SIGTERM does.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(WAIT_MAX, self.run).await.unwrap().unwrap();
    }

    /// Asks it to stop, and does not wait.
    pub(crate) fn begin_to_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn token(&self, user: &str, role: &str) -> String {
        token(&self.config, &TokenFor { user: user.to_owned(), role: role.to_owned(), minutes: 5 }).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    /// Initiates, as the user of the examples.
    pub(crate) async fn initiate(&self, body: impl Into<reqwest::Body>) -> Response {
        let token = self.token("user_123", "CUSTOMER");
        self.post(INITIATE).bearer_auth(token).body(body).send().await.unwrap()
    }

    /// How the execution context stands, for an admin.
    pub(crate) async fn context(&self, id: &str) -> Value {
        let path = EXECUTION_CONTEXT.replace("{executionContextId}", id);
        let answer = self.get(&path).bearer_auth(self.token("ops", "ADMIN")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    /// Waits until the execution context has this status.
    pub(crate) async fn until(&self, id: &str, status: &str) -> Value {
        let began = Instant::now();
        loop {
            let context = self.context(id).await;
            if context["status"] == status {
                return context;
            }
            assert!(began.elapsed() < WAIT_MAX, "not {status}: {context:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until this step of the checkout was begun.
    pub(crate) async fn until_begun(&self, id: &str, step: &str) {
        let path = EXECUTION_CONTEXT.replace("{executionContextId}", id);
        let began = Instant::now();
        loop {
            let answer = self.get(&path).bearer_auth(self.token("ops", "ADMIN")).send().await.unwrap();
            let context: Value = answer.json().await.unwrap();
            if context["contexts"].as_array().is_some_and(|steps| steps.iter().any(|begun| begun["step"] == step)) {
                return;
            }
            assert!(began.elapsed() < WAIT_MAX, "{step} was not begun: {context:#}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The customer pays or gives up, at the stand-in.
    pub(crate) async fn customer(&self, acts: &str, transaction: &str) -> u16 {
        let path = format!("{STAND_IN}/payments/{transaction}/{acts}");
        self.post(&path).send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn books(&self) -> Value {
        self.get(&format!("{STAND_IN}/books")).send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn webhook(&self, signature: &str, body: &[u8]) -> (u16, Value) {
        let request = self.post(PAYMENT_WEBHOOK).header("x-webhook-signature", signature).body(body.to_vec());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

/// The request with other values at these pointers.
pub(crate) fn with(request: &str, changes: &[(&str, Value)]) -> String {
    let mut request: Value = serde_json::from_str(request).unwrap();
    for (pointer, value) in changes {
        match request.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                request.pointer_mut(parent).unwrap()[name] = value.clone();
            }
        }
    }
    request.to_string()
}

/// The vendor's id of the transaction in an answer.
pub(crate) fn transaction(response: &Value) -> String {
    let pointer = "/paymentDetails/vendorTransactionInfo/processPaymentViaSDKParams/vendorTransactionId";
    response.pointer(pointer).unwrap().as_str().unwrap().to_owned()
}

/// A problem of this status and code.
pub(crate) async fn problem(answer: Response, status: u16, code: &str) -> Value {
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.status(), status);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()), "{problem:#}");
    problem
}
