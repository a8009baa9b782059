//! Extracts the tutorial's listings from the document that the variable TUTORIAL names, and compiles them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The tutorial's programs, in its order.
pub const PROGRAMS: [&str; 10] = [
    "client/socket",
    "client/connect",
    "client/send",
    "client/recv",
    "client/resolve",
    "server/accept",
    "server/reply",
    "server/loop",
    "server/fork",
    "client/message",
];

/// The tutorial's programs, and `server/robust`.
pub const ALL: [&str; 11] = {
    let mut all = ["server/robust"; 11];
    let mut i = 0;
    while i < PROGRAMS.len() {
        all[i] = PROGRAMS[i];
        i += 1;
    }
    all
};

/// The compiled listings.
pub struct Listings {
    folder: tempfile::TempDir,
    /// The programs' sources, as the document prints them.
    sources: Vec<(&'static str, String)>,
}

impl Listings {
    /// Extract and compile the listings of the document that TUTORIAL names; `None` if TUTORIAL is not set.
    ///
    /// # Errors
    /// A message: the document cannot be read, is not the tutorial, or a listing does not compile.
    pub fn from_environment() -> Result<Option<Listings>, String> {
        let Some(tutorial) = std::env::var_os("TUTORIAL").filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let path = super::root().join(tutorial);
        let document =
            fs::read_to_string(&path).map_err(|error| format!("TUTORIAL={}: {error}", path.display()))?;
        Listings::of(&document).map(Some).map_err(|error| format!("TUTORIAL={}: {error}", path.display()))
    }

    fn of(document: &str) -> Result<Listings, String> {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let listings = Listings { folder, sources: programs(document)? };
        for (program, source) in &listings.sources {
            if *program == "client/recv" && listings.compile("as-printed", source).is_ok() {
                return Err("the listing of recv compiles as printed; in the tutorial it does not".into());
            }
            let source = with_environment(&with_semicolon(program, source));
            listings
                .compile(program, &source)
                .map_err(|errors| format!("the listing of {program}:\n{errors}"))?;
        }
        Ok(listings)
    }

    /// The compiled program of a listing. It reads its port from PRISE_PORT, and its address or name from PRISE_HOST.
    pub fn file(&self, program: &str) -> PathBuf {
        self.folder.path().join(program.replace('/', "-"))
    }

    /// The listing of a program as printed, plus the semicolon that recv lacks.
    pub fn source(&self, program: &str) -> String {
        let found = self.sources.iter().find(|(known, _)| *known == program);
        with_semicolon(program, &found.expect("the document has every program").1)
    }

    fn compile(&self, program: &str, source: &str) -> Result<(), String> {
        let file = self.file(program);
        let source_file = file.with_extension("c");
        fs::write(&source_file, source).expect("a temporary file can be written");
        // -fpermissive: when the document was written, undeclared functions were only warnings
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let output = Command::new(compiler)
            .args(["-std=gnu17", "-w", "-fpermissive", "-o"])
            .args([&file, &source_file])
            .output()
            .expect("a C compiler runs");
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// The ten programs, from the document's C blocks.
fn programs(document: &str) -> Result<Vec<(&'static str, String)>, String> {
    let blocks: Vec<&str> =
        document.split("```c\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    let (whole, parts): (Vec<&str>, Vec<&str>) = blocks.into_iter().partition(|block| block.contains("main"));
    if whole.len() != PROGRAMS.len() - 1 {
        return Err(format!("the document has {} C programs, the tutorial has nine", whole.len()));
    }
    let mut whole = whole.into_iter();
    let mut programs: Vec<(&'static str, String)> = Vec::new();
    for program in PROGRAMS {
        let source = match programs.last() {
            // the blocks of 7.c and 7.d are to be added at the end of main in 7.b
            Some((_, accept)) if program == "server/reply" => {
                let added = |part: &&&str| part.contains("client_ip") || part.contains("write(new_socket");
                before_return(accept, &parts.iter().filter(added).copied().collect::<String>())
            }
            _ => whole.next().unwrap_or_default().to_string(),
        };
        programs.push((program, source));
    }
    Ok(programs)
}

fn before_return(source: &str, added: &str) -> String {
    let (before, after) = source.rsplit_once("return 0;").expect("main ends in return 0");
    format!("#include <string.h>\n#include <unistd.h>\n{before}{added}\nreturn 0;{after}")
}

/// The listing of recv lacks a semicolon and does not compile: add it.
fn with_semicolon(program: &str, source: &str) -> String {
    if program != "client/recv" {
        return source.to_string();
    }
    source.replace("close(socket_desc)\n", "close(socket_desc);\n")
}

/// The listing, changed to read its address, port and name from the environment.
fn with_environment(source: &str) -> String {
    let port = "htons(atoi(getenv(\"PRISE_PORT\")))";
    let host = "getenv(\"PRISE_HOST\")";
    let source = source.replace("htons(80)", port).replace("htons(8888)", port).replace("htons (8888)", port);
    let source = source.replace("\"172.217.22.78\"", host).replace("\"www.google.com\"", host);
    format!("#include <stdlib.h>\n{source}")
}
