//! What the example binaries share: the stand-in gateway, and the main job in its parts.

pub mod gateway;
pub mod job;
