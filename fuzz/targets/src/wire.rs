//! The wire protocol of Postgres, as the proxy of the campaigns understands it.

/// What a client says, and what the server says: the first two bytes are the length of the former.
pub fn run(bytes: &[u8]) {
    let [high, low, rest @ ..] = bytes else { return };
    let (client, server) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    if let Ok(messages) = runtime.block_on(campaigns::proxy::overhear(client, server)) {
        assert!(messages <= rest.len() / 5, "{messages} messages in {} bytes", rest.len());
    }
}
