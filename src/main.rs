//! The program `prise`: see `prise::main` in lib.rs.

fn main() -> std::process::ExitCode {
    prise::main()
}
