//! The gateway from outside: real clients on one side, a real log on the other.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod http;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod port;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod recent;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod unary;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod world;
