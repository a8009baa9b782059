//! `prise server …`: the tutorial's servers, in the order to read them.

pub mod accept; // 7.b   accept one client
pub mod reply; // 7.c-d who it is, and a greeting
pub mod r#loop; // "4. Serveur live": one client after the other
pub mod fork; // "5. fork()": a process per client
