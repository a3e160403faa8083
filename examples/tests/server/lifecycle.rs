//! The end of a server is not the end of its checkouts.

use examples::vendor::{StandIn, serve};
use serde_json::{Value, json};

use crate::fixture::{NEW_PLAN, Running, WEBHOOK_SECRET, transaction, with};

#[tokio::test]
async fn what_a_server_leaves_when_it_stops_the_next_one_finishes() {
    // The vendor outlives both.
    let stand_in = StandIn::new(WEBHOOK_SECRET, None).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let vendor_url = format!("http://{}", listener.local_addr().unwrap());
    let vendor = tokio::spawn(serve(listener, stand_in.clone()));
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--vendor-url", &vendor_url, "--payment-wait-ms", "1500"];

    let first = Running::on(dir.path(), &flags).await;
    let method = "/paymentPreferences/selectedOnlinePaymentInfo/paymentMethodIdentifier";
    let waits = with(NEW_PLAN, &[("/executionContextId", json!("ctx_waits"))]);
    let waits: Value = first.initiate(waits).await.json().await.unwrap();
    // Nobody hears of it: the webhook is lost.
    stand_in.pay(&transaction(&waits)).unwrap();
    // This one's vendor does not answer at first, so that the server stops in the midst of it.
    let midst = [
        (method, json!("pm+timeout_2")),
        ("/executionContextId", json!("ctx_midst")),
        ("/lineItems/created/0/lineItemId", json!("li_midst")),
    ];
    let stop = async {
        first.until_begun("ctx_midst", "5-create-payment-request").await;
        first.begin_to_stop();
    };
    let (midst, ()) = tokio::join!(first.initiate(with(NEW_PLAN, &midst)), stop);
    // It is answered, or told to come again; it is never cut off.
    assert!([200, 202, 503].contains(&midst.status().as_u16()), "{}", midst.status());
    first.stop().await;

    let second = Running::on(dir.path(), &flags).await;
    second.until("ctx_midst", "COMPLETED").await;
    // When the wait is over, the vendor is asked.
    second.until("ctx_waits", "COMPLETED").await;
    assert_eq!(stand_in.booked().contradictions, Vec::<String>::new());
    assert!(stand_in.booked().net_minor.values().all(|net| *net == 150_000));
    second.stop().await;
    vendor.abort();
}
