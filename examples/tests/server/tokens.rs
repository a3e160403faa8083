//! Who is let in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use examples::server::{Audience, Claims, ConfigError, EXECUTION_CONTEXT, INITIATE, Server, ServerError};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::fixture::{NEW_PLAN, Running, config, problem};

const SECRET: &str = "insecure-dev-jwt-secret-that-everybody-knows";

fn claims() -> Claims {
    Claims {
        sub: "user_123".to_owned(),
        role: "CUSTOMER".to_owned(),
        iss: "insecure-dev".to_owned(),
        aud: Audience::One("insecure-dev".to_owned()),
        exp: get_current_timestamp() + 60,
    }
}

fn signed(claims: &impl serde::Serialize, secret: &str) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

async fn initiate(server: &Running, token: &str) -> reqwest::Response {
    server.post(INITIATE).bearer_auth(token).body(NEW_PLAN).send().await.unwrap()
}

#[tokio::test]
async fn a_token_that_is_not_good_in_every_way_is_refused() {
    let server = Running::start(&[]).await;
    assert_eq!(initiate(&server, &signed(&claims(), SECRET)).await.status(), 200, "a good one, for comparison");

    let none = server.post(INITIATE).body(NEW_PLAN).send().await.unwrap();
    assert_eq!(none.headers()["www-authenticate"], "Bearer");
    problem(none, 401, "UNAUTHENTICATED").await;

    let now = get_current_timestamp();
    let without_exp = json!({ "sub": "user_123", "role": "CUSTOMER", "iss": "insecure-dev", "aud": "insecure-dev" });
    let mut not_yet = serde_json::to_value(claims()).unwrap();
    not_yet["nbf"] = json!(now + 3_600);
    let unsigned = |alg: &str| {
        let header = BASE64.encode(json!({ "alg": alg, "typ": "JWT" }).to_string());
        format!("{header}.{}.", BASE64.encode(serde_json::to_string(&claims()).unwrap()))
    };
    let good = signed(&claims(), SECRET);
    let (rest, _) = good.rsplit_once('.').unwrap();
    let bad = [
        ("expired", signed(&Claims { exp: now - 120, ..claims() }, SECRET)),
        ("no expiry", signed(&without_exp, SECRET)),
        ("not yet", signed(&not_yet, SECRET)),
        ("another audience", signed(&Claims { aud: Audience::One("others".to_owned()), ..claims() }, SECRET)),
        ("another issuer", signed(&Claims { iss: "others".to_owned(), ..claims() }, SECRET)),
        ("another secret", signed(&claims(), "another-secret-that-is-as-long-as-the-first")),
        ("nobody", signed(&Claims { sub: String::new(), ..claims() }, SECRET)),
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        ("alg HS256 without signature", unsigned("HS256")),
        ("cut off", format!("{rest}.")),
        ("no token", "garbage".to_owned()),
        ("too long", "x".repeat(20_000)),
    ];
    for (name, token) in bad {
        let answer = initiate(&server, &token).await;
        assert_eq!(answer.status(), 401, "{name}");
        problem(answer, 401, "UNAUTHENTICATED").await;
    }
    server.stop().await;
}

#[tokio::test]
async fn roles_decide_and_the_body_does_not() {
    let server = Running::start(&[]).await;
    let as_role = |role: &str| signed(&Claims { role: role.to_owned(), ..claims() }, SECRET);
    for role in ["", "SUPERUSER", "customer ", "PARTNER", "ADMIN"] {
        // A partner signs in as no customer, and an admin pays for nobody.
        problem(initiate(&server, &as_role(role)).await, 403, "FORBIDDEN").await;
    }
    let other = signed(&Claims { sub: "user_999".to_owned(), ..claims() }, SECRET);
    problem(initiate(&server, &other).await, 403, "FORBIDDEN").await;

    let answer: Value = initiate(&server, &as_role("CUSTOMER")).await.json().await.unwrap();
    let path = EXECUTION_CONTEXT.replace("{executionContextId}", answer["executionContextId"].as_str().unwrap());
    let read = |token: String| server.get(&path).bearer_auth(token).send();
    assert_eq!(read(as_role("customer")).await.unwrap().status(), 200);
    problem(read(other).await.unwrap(), 403, "FORBIDDEN").await;
    let admin = signed(&Claims { sub: "ops".to_owned(), role: "admin".to_owned(), ..claims() }, SECRET);
    assert_eq!(read(admin.clone()).await.unwrap().status(), 200);
    let unknown = EXECUTION_CONTEXT.replace("{executionContextId}", "ctx_unknown");
    problem(server.get(&unknown).bearer_auth(admin).send().await.unwrap(), 404, "NOT_FOUND").await;
    server.stop().await;
}

/// An issuer with a key of its own.
struct Issuer {
    key: EcdsaKeyPair,
    kid: &'static str,
}

impl Issuer {
    fn new(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        Self { key, kid }
    }

    fn jwk(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
        json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "alg": "ES256", "x": x, "y": y })
    }

    fn token(&self, kid: &str) -> String {
        let header = BASE64.encode(json!({ "alg": "ES256", "kid": kid }).to_string());
        let message = format!("{header}.{}", BASE64.encode(serde_json::to_string(&claims()).unwrap()));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64.encode(signature.as_ref()))
    }
}

#[tokio::test]
async fn keys_of_a_set_verify_and_a_public_key_is_no_secret() {
    let (issuer, stranger) = (Issuer::new("key-1"), Issuer::new("key-2"));
    let set = json!({ "keys": [issuer.jwk(), { "kty": "oct", "kid": "oct", "k": BASE64.encode(SECRET) }] });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    std::fs::write(&file, set.to_string()).unwrap();
    let server = Running::start(&["--jwks", file.to_str().unwrap()]).await;
    assert_eq!(initiate(&server, &issuer.token("key-1")).await.status(), 200);

    let mut confused = Header::new(Algorithm::HS256);
    confused.kid = Some("key-1".to_owned());
    let as_secret = EncodingKey::from_secret(issuer.key.public_key().as_ref());
    let mut symmetric = confused.clone();
    symmetric.kid = Some("oct".to_owned());
    let bad = [
        ("signed by a stranger", stranger.token("key-1")),
        ("a key that is not in the set", stranger.token("key-2")),
        ("the public key as a secret", encode(&confused, &claims(), &as_secret).unwrap()),
        ("a secret in the set", encode(&symmetric, &claims(), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()),
        ("no key named", signed(&claims(), SECRET)),
    ];
    for (name, token) in bad {
        assert_eq!(initiate(&server, &token).await.status(), 401, "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_set_is_read_from_an_address_as_well() {
    let issuer = Issuer::new("key-1");
    let set = json!({ "keys": [issuer.jwk()] }).to_string();
    let routes = axum::Router::new().route("/jwks.json", axum::routing::get(async move || set));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
    let server = Running::start(&["--jwks", &url]).await;
    assert_eq!(initiate(&server, &issuer.token("key-1")).await.status(), 200);
    server.stop().await;
    serving.abort();
    let unread = Server::bind(&config(&["--insecure-dev", "--listen", "127.0.0.1:0", "--jwks", &url])).await;
    assert!(matches!(unread.unwrap_err(), ServerError::Jwks(_)), "without keys it does not start");
}

#[tokio::test]
async fn the_server_does_not_start_without_knowing_who_calls() {
    let secrets = [
        "--vendor-url=http://127.0.0.1:9",
        "--webhook-secret=a-webhook-secret-of-the-shop",
        "--pii-key=2026-01:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "--jwt-issuer=issuer",
        "--jwt-audience=shop",
        "--jwt-secret=a-secret-of-no-less-than-thirty-two-bytes",
    ];
    assert!(config(&secrets).check().is_ok());
    let without = |name: &str| {
        let flags: Vec<&str> = secrets.into_iter().filter(|flag| !flag.starts_with(name)).collect();
        config(&flags).check().unwrap_err()
    };
    assert!(matches!(without("--jwt-secret"), ConfigError::NoAuth));
    assert!(matches!(without("--jwt-issuer"), ConfigError::NoIssuerOrAudience));
    assert!(matches!(without("--jwt-audience"), ConfigError::NoIssuerOrAudience));
    assert!(matches!(without("--webhook-secret"), ConfigError::NoWebhookSecret));
    assert!(matches!(without("--pii-key"), ConfigError::NoPiiKey));
    assert!(matches!(without("--vendor-url"), ConfigError::NoVendor));
    let refused = Server::bind(&config(&[])).await.unwrap_err();
    assert!(matches!(refused, ServerError::Config(_)), "{refused:?}");
    let open = config(&["--insecure-dev", "--listen", "0.0.0.0:0"]).check().unwrap_err();
    assert!(matches!(open, ConfigError::InsecureAddress(_)));
    let weak = config(&["--insecure-dev", "--jwt-secret", "short"]).check().unwrap_err();
    assert!(matches!(weak, ConfigError::WeakJwtSecret));
    let shown = format!("{:?}", config(&secrets));
    assert!(!shown.contains("a-webhook-secret") && !shown.contains("thirty-two") && !shown.contains("AAAA"), "{shown}");
}
