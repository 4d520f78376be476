//! `portolan run` with flags and configuration files, and what becomes of wrong ones.

mod answers;
mod command_line;
mod distributions;
mod document;
mod lifecycle;
mod precheck;
mod process;
mod refusals;
mod shared;
mod warnings;
