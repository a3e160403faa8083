#!/bin/sh
# The runbook of stuck checkouts, step by step, against a server that runs with --insecure-dev.
#
#   examples/runbook.sh
#
# INITIATE_URL and INITIATE_DATABASE_URL say where the server and its journal are, when they are not where they are by
# default. It makes two checkouts whose webhooks never come, and sees to them as an operator would.
set -eu

url=${INITIATE_URL:-http://127.0.0.1:8080}
database=${INITIATE_DATABASE_URL:-sqlite://initiate.db}
: "${SAGACTL:=cargo run --quiet -p examples --bin sagactl --}"
: "${INITIATE_SERVER:=cargo run --quiet -p examples --bin initiate-server --}"
run=$(date +%s)-$$

say() { printf '\n== %s\n' "$1"; }
fail() { printf 'runbook: %s\n' "$1" >&2; exit 1; }
# The first text field of this name, from compact JSON.
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }
ctl() { $SAGACTL --database-url "$database" "$@"; }
call() { curl --silent --show-error --fail-with-body --max-time 20 "$@"; }
post() { call --header "Authorization: Bearer $customer" --header 'Content-Type: application/json' --data "$1" "$url/orchestration/checkout/initiate"; }
context() { call --header "Authorization: Bearer $admin" "$url/orchestration/checkout/execution-contexts/$1"; }
# The status stands behind the steps, which have one each.
status() { context "$1" | grep -o '"status":"[A-Z]*","retryTimestamps"' | cut -d '"' -f 4; }
until_status() {
    for _ in $(seq 200); do
        [ "$(status "$1")" = "$2" ] && return 0
        sleep 0.1
    done
    fail "$1 is $(status "$1"), and not $2"
}
stuck() {
    post '{"executionContextId": "'"$1"'", "userId": "user_123", "userType": "CUSTOMER", "device": {"os": "android", "version": "12"},
        "dimensions": {"city": {"key": "delhi"}, "category": {"key": "cleaning"}},
        "lineItems": {"created": [{"lineItemId": "li_'"$1"'", "plan": {"planId": "plan_789"}}]},
        "sourceContext": {"id": "journey_101", "type": "CUSTOMER_JOURNEY"}, "payments": {"userPaymentIntent": "PAY_NOW"},
        "paymentPreferences": {"isCashPayment": false,
            "selectedOnlinePaymentInfo": {"paymentMethodIdentifier": "pm+wait+webhook_missing"}}}'
}

customer=$($INITIATE_SERVER token --insecure-dev --user user_123 --role CUSTOMER)
admin=$($INITIATE_SERVER token --insecure-dev --user ops --role ADMIN)

say "two checkouts wait for payments that nobody hears of"
paid=ctx_paid_$run
unpaid=ctx_unpaid_$run
transaction=$(stuck "$paid" | field vendorTransactionId)
stuck "$unpaid" >/dev/null
call --request POST "$url/stand-in-vendor/payments/$transaction/pay"

say "1. identify: which checkouts stand still?"
ctl list --definition checkout-initiate --status waiting
id_of() { ctl --json list --definition checkout-initiate --key "$1" | field id; }
saga_paid=$(id_of "$paid")
saga_unpaid=$(id_of "$unpaid")
[ -n "$saga_paid" ] && [ -n "$saga_unpaid" ] || fail "the stuck checkouts are not found"

say "2. analyse: how far did it come, step by step?"
ctl show "$saga_paid"
context "$paid" | grep -q '"step":"9-payment"' || fail "it does not wait for its payment"

say "3. events: what was published, and what could not be?"
context "$paid" | grep -q '"step":"8-line-items-updated","status":"SUCCEEDED"' || fail "line_items_updated was not published"
context "$paid" | grep -q '"step":"9-line-items-confirmed"' && fail "line_items_confirmed came before the payment"
ctl dead-events

say "4. recover: what does the vendor say? and who holds the locks?"
call "$url/stand-in-vendor/ledger"
echo
ctl locks

say "5. retry: the same executionContextId again"
post '{"executionContextId": "'"$paid"'"}'
echo

say "6. roll back the one that is not paid"
ctl rollback "$saga_unpaid" --actor "$(id -un)" --reason "stuck; the customer has not paid"
until_status "$unpaid" ROLLEDBACK

say "and stop the one that is paid: what was taken is paid back"
ctl rollback "$saga_paid" --actor "$(id -un)" --reason "stuck; the customer wants the money back"
until_status "$paid" ROLLEDBACK
call "$url/stand-in-vendor/books"
echo
ctl show "$saga_paid"
printf '\nrunbook: done\n'
