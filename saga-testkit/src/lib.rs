#![doc = include_str!("../README.md")]

pub mod contract;
pub mod faults;
pub mod nats;
pub mod postgres;
pub mod publisher;
pub mod zombie;
