//! The gateway from outside: real clients on one side, a real log on the other.

#[cfg(test)]
mod drain;
#[cfg(test)]
mod http;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod port;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod unary;
#[cfg(test)]
mod world;
