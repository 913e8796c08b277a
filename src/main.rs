//! The program `offs`.

fn main() -> std::process::ExitCode {
    offsystem::run()
}
