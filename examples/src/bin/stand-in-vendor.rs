//! A payment vendor for the initiate flow that stands in for a real one, see `examples::vendor`.

use clap::Parser;
use examples::server::Secret;
use examples::vendor::{StandIn, serve};

#[derive(Parser)]
#[command(about = "A payment vendor with books of its own, whose payment methods say how payments go")]
struct Args {
    /// The port on the loopback interface; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where webhooks are posted.
    #[arg(long)]
    webhook_url: Option<String>,
    /// What webhooks are signed with.
    #[arg(long, env = "INITIATE_WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Secret,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let stand_in = StandIn::new(args.webhook_secret.expose().as_bytes(), args.webhook_url)?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!("http://{}", listener.local_addr()?);
    serve(listener, stand_in).await?;
    Ok(())
}
