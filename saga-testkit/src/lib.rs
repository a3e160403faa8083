#![doc = include_str!("../README.md")]

pub mod contract;
pub mod faults;
pub mod postgres;
pub mod zombie;
