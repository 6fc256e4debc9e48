//! Ends of pipes that a command does not like as its output, and a terminal.

use std::{
    fs::{File, OpenOptions},
    io::{PipeReader, Write as _, pipe},
    process::Stdio,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// A pipe that nobody reads any more.
pub fn broken() -> Stdio {
    pipe().unwrap().1.into()
}

/// A pipe that takes nothing more, for as long as its other end is kept.
pub fn full() -> (Stdio, PipeReader) {
    let (reader, mut writer) = pipe().unwrap();
    // What a pipe holds, unless somebody has changed that.
    writer.write_all(&vec![b'x'; 64 * 1024]).unwrap();
    (writer.into(), reader)
}

/// A device on which there is no room.
pub fn no_room() -> Stdio {
    OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

/// A terminal of 80 columns, and the end at which it is looked at.
pub fn terminal() -> (Stdio, File) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&controller, size).unwrap();
    (terminal.into(), File::from(controller))
}
