//! Tries what a build may not, and tells the tests what it got.

fn main() {
    let mut got = Vec::new();
    if std::fs::read("SECRET").is_ok() {
        got.push("a key");
    }
    if std::net::TcpStream::connect("127.0.0.1:PORT").is_ok() {
        got.push("the network");
    }
    if std::fs::write("new", "x").is_ok() {
        got.push("the project");
    }
    println!("cargo::rustc-env=GOT={}", got.join(","));
}
