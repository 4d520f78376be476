//! `portolan run` with flags and configuration files, right and wrong ones.

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
