//! What the example binaries share: the stand-in gateway, the main job in its parts, the operator's command line,
//! the server of the initiate flow, the stand-in for its payment vendor, the campaign against both, and how they fail.

pub mod campaign;
pub mod failure;
pub mod gateway;
pub mod job;
pub mod sagactl;
pub mod server;
pub mod vendor;
