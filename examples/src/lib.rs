//! What the example binaries share: the stand-in gateway, the main job in its parts, the operator's command line.

pub mod gateway;
pub mod job;
pub mod sagactl;
