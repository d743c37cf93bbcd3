#!/usr/bin/env python3
"""What the man pages say is so: options, exit codes, examples, and statements that can be run.

usage: manpages.py [BUILD-DIR]		as root

Runs in a mount and a network namespace of its own, in which /srv, /mnt and /etc/embassyfs are empty and the hosts of
the examples are this one; so the examples run as they stand.
"""

import contextlib
import ctypes
import fcntl
import glob
import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
HOSTS = ("localhost", "embassy.example.org")
FOLDERS = ("/srv", "/mnt", "/etc/embassyfs")  # of the examples
passed = failed = 0


def check(what, good, detail=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"FAIL: {what}" + (f"\n  {detail}" if detail else ""))


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


# ---- pages ----


def plain(line):
    """A line of troff without its fonts, quotes and escapes."""
    m = re.match(r"\.(?:B|I|BI|BR|RB|RI|IR|IB|TP)\b ?(.*)", line)
    if m:
        words = re.findall(r'"([^"]*)"|(\S+)', m.group(1))
        sep = " " if line.startswith((".B ", ".I ")) else ""
        line = sep.join(a or b for a, b in words)
    line = re.sub(r"\\f.|\\/", "", line)
    return line.replace(r"\-", "-").replace(r"\(dq", '"').replace(r"\e", "\\").replace(r"\&", "")


class Page:
    def __init__(self, path):
        self.name = os.path.basename(path)
        self.sections = {}
        section = None
        for line in text_of(path).splitlines():
            if line.startswith(".SH "):
                section = self.sections.setdefault(line[4:].strip('" '), [])
            elif section is not None:
                section.append(line)

    def words(self, section):
        return " ".join(" ".join(plain(x) for x in self.sections[section]).split())

    def items(self, section):
        """(tag, text) of each .TP."""
        out, lines = [], self.sections[section]
        for i, line in enumerate(lines):
            if line == ".TP":
                end = next((j for j in range(i + 1, len(lines)) if lines[j] == ".TP"), len(lines))
                out.append((plain(lines[i + 1]), " ".join(plain(x) for x in lines[i + 2:end])))
        return out

    def commands(self, section):
        lines = self.sections[section]
        begin, end = (next(i for i, x in enumerate(lines) if x.startswith(m)) for m in ((".nf", ".EX"), (".fi", ".EE")))
        return [plain(x) for x in lines[begin + 1:end] if x and not x.startswith(".")]


EMBASSY, EMBASSYFS, EMBASSYD = (Page("tools/man/" + p) for p in ("embassy.1", "embassyfs.1", "embassyd.8"))


# ---- options: parser, page, --help and completions name the same ----


def long_options(text):
    found = set(re.findall(r'\{"([a-z-]+)", (?:no|required|optional)_argument', text))
    if "CMD_CREDENTIAL_OPTIONS," in text:
        found |= {"passphrase-file", "key-file"}
    return found - {"help", "version", "handover"}


def named(text):
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", text)) - {"help", "version"}


def parsers():
    """The options of each command of embassy, from the array that its parser is given."""
    out = {}
    for path in glob.glob(os.path.join(ROOT, "tools/cmd_*.c")):
        text = text_of(path)
        for name in re.findall(r'const struct command cmd_\w+ = \{\s*\.name = "(\w+)"', text):
            out[name] = long_options(text)
    return out


def synopsis(command):
    text = EMBASSY.words("SYNOPSIS").replace("embassy ", "\n")
    return " ".join(x for x in text.splitlines() if x.split()[:1] == [command])


def completed(command):
    """What each shell's completion offers for a command."""
    zsh = text_of("tools/completions/_embassy")
    arms = re.findall(r"^([a-z|]+)\) (.*) ;;$", zsh, re.M)
    unlock = re.search(r"^unlock=\((.*)\)$", zsh, re.M).group(1)
    arm = " ".join(v for k, v in arms if command in k.split("|"))
    bash = re.search(rf"^\t{command}\) options='(.*)' ;;$", text_of("tools/completions/embassy.bash"), re.M)
    fish = set()
    for of, option in re.findall(r'__fish_seen_subcommand_from ([a-z ]+)" -l ([a-z-]+)',
                                 text_of("tools/completions/embassy.fish")):
        if command in of.split():
            fish.add(option)
    return {"zsh": named(arm.replace("$unlock", unlock)), "bash": named(bash.group(1)) if bash else set(), "fish": fish}


def check_embassy_options(run):
    commands = parsers()
    listed = set(re.findall(r"^  (\w+)", run(["embassy", "help"])[1], re.M)) - {"help", "version"}
    check("each command has a parser", listed == set(commands), f"{listed} / {set(commands)}")
    tags = {tag for tag, _ in EMBASSY.items("COMMANDS")}
    check("embassy.1 has each command", tags == listed, f"{tags ^ listed}")
    for shell, path in (("zsh", "_embassy"), ("bash", "embassy.bash"), ("fish", "embassy.fish")):
        text = text_of("tools/completions/" + path)
        check(f"{shell} completes each command", all(re.search(rf"\b{c}\b", text) for c in listed))
    for c, options in sorted(commands.items()):
        check(f"embassy.1: the synopsis of {c} has its options", named(synopsis(c)) == options,
              f"page and parser differ in {named(synopsis(c)) ^ options}")
        code, text = run(["embassy", c, "--help"])
        check(f"{c} --help has its options", code == 0 and named(text) >= options, f"{options - named(text)}")
        check(f"{c} --help names no other", named(text) <= options, f"{named(text) - options}")
        for shell, offered in completed(c).items():
            check(f"{shell} completes the options of {c}", offered == options, f"{offered ^ options}")
        for o in options:
            code, text = run(["embassy", c, "--" + o])
            check(f"embassy {c} --{o} is taken", "no such option" not in text, text)
        check(f"embassy {c} --bogus is not", "no such option" in run(["embassy", c, "--bogus"])[1])
    for tag, text in EMBASSY.items("COMMANDS"):
        check(f"embassy.1: {tag} tells of its own options", named(text) <= commands.get(tag, set()) | {"accept-loss"},
              f"{named(text)}")
    for tag, _ in EMBASSY.items("OPTIONS"):
        for o in named(tag):
            check(f"embassy.1: --{o} belongs to a command", any(o in x for x in commands.values()))


def check_mount_options(run):
    source = text_of("fs/daemon/options.c")
    table = re.findall(r'^\t\{"([a-z_-]+)", VALUE_(\w+), (\w+)', source, re.M)
    own = {n for n, _, field in table if field != "IGNORED"}
    ignored = {n for n, _, field in table if field == "IGNORED"}
    check("the table of options was found", len(own) > 20 and len(ignored) > 10)
    page = " ".join(tag + " " + text for tag, text in EMBASSYFS.items("OPTIONS"))
    words = set(re.findall(r"[a-z_][a-z_-]*", page))
    check("embassyfs.1 has each option", own <= words, f"{own - words}")
    tags = set()
    for tag, text in EMBASSYFS.items("OPTIONS"):
        if text.startswith("The opposites"):
            continue
        tags |= {x.split("=")[0] for x in re.split(r"[, ]+", tag) if re.match(r"[a-z]", x)}
    check("embassyfs.1 has no other", tags <= own | {"remount"}, f"{tags - own}")
    given = {"at": "=latest", "history": "=users", "embassy": "=127.0.0.1:1", "flush": "=5", "checkpoint": "=60", "memory": "=64M", "local": "=1G"}
    for name, value, _ in table:
        word = name + given.get(name, "" if value in ("NONE", "ACCESS") else "=x")
        target = "127.0.0.1:1/" + "0" * 32 if name == "local" else "/none"
        code, text = run(["embassyfs", target, "/mnt", "-o", word])
        if name != "remount":
            check(f"embassyfs -o {word} is taken", code != 2, text)
    code, text = run(["embassyfs", "/none", "/mnt", "-o", "bogus"])
    check("embassyfs -o bogus is not", code == 2 and "bogus" in text, text)
    mounts = re.search(r"add for themselves \(([^)]*) and the like\)", EMBASSYFS.words("OPTIONS")).group(1)
    for word in re.findall(r"_?[a-z]+", mounts.replace("x-ANYTHING", "")):
        check(f"embassyfs takes {word} of fstab", word in ignored)
    helps = run(["embassyfs", "--help"])
    check("embassyfs --help", helps[0] == 0)
    told = set(re.findall(r"^  -o ([a-z_-]+)", helps[1], re.M))
    check("embassyfs --help has no other options", told <= own | {"remount"}, f"{told - own}")
    check("embassyfs --help has what the page has", tags - {"relatime", "nodiratime", "strictatime", "dev", "suid", "noexec"} <= told,
          f"{tags - told}")
    for shell, path in (("bash", "embassyfs.bash"), ("zsh", "_embassyfs"), ("fish", "embassyfs.fish")):
        text = set(re.findall(r"[a-z_][a-z_-]*", text_of("tools/completions/" + path)))
        check(f"{shell} completes the options of a mount", tags <= text, f"{tags - text}")
    parser = re.search(r'getopt_long\(argc, argv, "([^"]*)"', source).group(1)
    for letter in re.findall(r"\[-([a-zA-Z])\b", EMBASSYFS.words("SYNOPSIS")):
        check(f"embassyfs -{letter}", letter in parser)


def check_server_options(run):
    options = long_options(text_of("server/main.c"))
    check("embassyd.8: the synopsis has the options", named(EMBASSYD.words("SYNOPSIS")) == options)
    tags = set().union(*(named(tag) for tag, _ in EMBASSYD.items("OPTIONS")))
    check("embassyd.8: so has OPTIONS", tags == options, f"{tags ^ options}")
    code, text = run(["embassyd", "--help"])
    check("embassyd --help has them", code == 0 and named(text) == options, f"{named(text) ^ options}")
    for path in ("embassyfs.bash", "_embassyfs", "embassyd.fish"):
        words = text_of("tools/completions/" + path)
        check(f"{path} completes embassyd", all(re.search(rf"(--|-l ){o}\b", words) for o in options))
    check("embassyd --bogus is refused", run(["embassyd", "--bogus"])[0] == 2)


# ---- ids of events ----


def event_rows(page):
    return {x.split("\t")[0].replace(r"\-", "-") for x in page.sections["LOG"] if re.match(r"[a-z-\\]+\t", x)}


def check_events():
    # What lies in fs/ and only a server says.
    servers = {"catalog-rebuilt", "volume-left-over", "certificate-read", "certificate-refused"} & event_rows(EMBASSYD)
    for page, folders in ((EMBASSYFS, ("fs",)), (EMBASSYD, ("server", "fs/base", "fs/record", "fs/store", "fs/net"))):
        rows = event_rows(page)
        source = "".join(text_of(os.path.relpath(p, ROOT)) for f in folders
                         for p in glob.glob(os.path.join(ROOT, f, "**/*.c"), recursive=True))
        ids = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source))
        check(f"{page.name}: each event is one of the program", rows <= ids, f"{rows - ids}")
        said = set(re.findall(r'msg_event\(\s*[^;]*?"([a-z]+(?:-[a-z]+)+)",', "".join(
            text_of(os.path.relpath(p, ROOT)) for f in folders[:1]
            for p in glob.glob(os.path.join(ROOT, f, "**/*.c"), recursive=True)), re.S))
        check(f"{page.name}: and each event of the program is there", said - servers <= rows, f"{said - servers - rows}")


# ---- what runs ----


class World:
    """The namespace, with the programs in PATH."""

    def __init__(self, build):
        self.dir = tempfile.mkdtemp(prefix="embassyfs-man.", dir=os.environ.get("TMPDIR", "/var/tmp"))
        os.mkdir(self.dir + "/bin")
        for p in ("tools/embassy", "fs/fuse/embassyfs", "server/embassyd"):
            os.symlink(os.path.join(build, p), self.dir + "/bin/" + os.path.basename(p))
        self.passphrase = self.file("pass", b"correct horse battery\n")
        self.key = self.file("key", os.urandom(32))
        self.env = dict(os.environ, PATH=self.dir + "/bin:" + os.environ["PATH"], EMBASSY_PASSPHRASE_FILE=self.passphrase)
        self.servers = []
        self.isolate()

    def file(self, name, content):
        path = f"{self.dir}/{name}"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
            f.write(content)
        return path

    def isolate(self):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x00020000 | 0x40000000) != 0:  # CLONE_NEWNS, CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "unshare")
        sh = lambda c: subprocess.run(c, shell=True, check=True)
        sh("mount --make-rprivate /")
        with socket.socket() as s:  # the loopback interface up
            fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 1))
        hosts = self.file("hosts", "".join(f"127.0.0.1 {h}\n" for h in HOSTS).encode())
        os.chmod(hosts, 0o644)
        sh(f"mount --bind {hosts} /etc/hosts")
        self.made = [d for d in FOLDERS if not os.path.exists(d)]
        for d in FOLDERS:
            os.makedirs(d, exist_ok=True)
            sh(f"mount -t tmpfs -o mode=755 none {d}")

    def run(self, command, timeout=120, **more):
        p = subprocess.run(command, shell=isinstance(command, str), env=self.env, stdin=subprocess.DEVNULL, timeout=timeout,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)
        return p.returncode, p.stdout

    def status(self, target):
        return json.loads(self.run(["embassy", "status", target, "--json"])[1])

    def serve(self, command):
        """embassyd, until the end."""
        p = subprocess.Popen(command, shell=isinstance(command, str), env=self.env, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.servers.append(p)
        return p.stdout.readline()

    def daemons(self, mount):
        """Of this namespace: elsewhere the same path is another mount."""
        out = []
        ours = os.readlink("/proc/self/ns/mnt")
        for p in glob.glob("/proc/[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                with open(p, "rb") as f:
                    words = f.read().split(b"\0")
                if os.readlink(os.path.dirname(p) + "/ns/mnt") != ours:
                    continue
                if b"embassyfs" in words[0] and mount.encode() in words:
                    out.append(int(p.split("/")[2]))
                elif words[0].startswith(b"embassyfs: supervisor") and mount.encode() in b" ".join(words):
                    out.append(int(p.split("/")[2]))
        return out

    def unmount(self, mount):
        code, text = self.run(["umount", mount])
        check(f"umount {mount}", code == 0, text)
        end = time.monotonic() + 60
        while self.daemons(mount) and time.monotonic() < end:
            time.sleep(0.02)
        check(f"the daemon of {mount} has ended", not self.daemons(mount))

    def close(self):
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            mounts = [x.split()[4] for x in f if " - fuse.embassyfs " in x]
        for m in reversed(mounts):
            if m.startswith(("/mnt", "/srv", self.dir)):
                self.run(["umount", "-l", m])
        for p in self.servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)
        for d in self.made:
            self.run(["umount", "-l", d])
            os.rmdir(d)
        shutil.rmtree(self.dir, ignore_errors=True)


def check_examples(w):
    """The examples of the three pages, README's tour and --help, as they stand, in the order of a first day."""
    os.makedirs("/mnt/registers")
    makes, serves = EMBASSYD.commands("EXAMPLES")
    code, text = w.run(makes)
    check(makes, code == 0, text)
    check(serves, "listening on" in w.serve(serves))
    for line in EMBASSY.commands("EXAMPLES"):
        code, text = w.run(line)
        check("embassy.1: " + line, code == 0, text)
    # embassyfs.1's: the mount, a file that was lost, and the view abroad.
    mount, bring_back, view = EMBASSYFS.commands("EXAMPLES")
    w.unmount("/mnt/registers")
    code, text = w.run(mount)
    check("embassyfs.1: " + mount, code == 0, text)
    with open("/mnt/registers/lost.db", "w", encoding="utf-8") as f:
        f.write("a register\n")
    code, text = w.run(["embassy", "drain", "/mnt/registers", "--timeout", "60"])
    check("drained", code == 0, text)
    then = w.status("/mnt/registers")["head"]["time"]
    os.unlink("/mnt/registers/lost.db")
    w.run(["sync", "/mnt/registers/.embassy"])
    check("embassyfs.1: it is brought back from ten minutes ago", "/ago/10m/" in bring_back, bring_back)
    code, text = w.run(bring_back.replace("ago/10m", "at/" + then))
    check("embassyfs.1: " + bring_back, code == 0 and os.path.exists("/mnt/registers/lost.db"), text)
    volume = w.status("/mnt/registers")["volume"]
    check("embassyfs.1: the view is of yesterday", "at=yesterday" in view, view)
    os.makedirs("/mnt/past")
    code, text = w.run(re.sub("/[0-9a-f]{32}", "/" + volume, view).replace("at=yesterday", "at=latest"))
    check("embassyfs.1: " + view, code == 0 and os.path.ismount("/mnt/past"), text)
    w.unmount("/mnt/past")
    check_tour(w, volume)
    # What --help shows, too.
    for c in sorted(parsers()):
        line = re.search(r"^example: (.*)$", w.run(["embassy", c, "--help"])[1], re.M).group(1)
        check(f"embassy {c} --help shows itself", line.split()[:2] == ["embassy", c], line)
        code, text = w.run(["embassy", c] + line.split()[2:] + ["--help"])
        check(f"{line}: its options are taken", code == 0, text)


def check_tour(w, volume):
    """README's tour, as far as it is not the examples above: no such volume is made again."""
    tour = text_of("README.md").split("## A short tour")[1].split("## ")[0]
    lines = [x.strip().split("  #")[0].strip() for x in tour.splitlines() if x.startswith("    ") and x.strip()[0] != "#"]
    check("README's tour was found", len(lines) > 10)
    for line in lines:
        if line.startswith(("embassy init", "embassy tls", "embassyd", "embassyfs /srv/registers", "embassy snapshot")):
            check(f"README: {line}: its options are taken", w.run(line + " --help")[0] == 0)
            continue
        line = line.replace("VOLUME-ID", volume)
        if "/ago/5m" in line or "/at/2026" in line:
            continue  # the volume is too young; embassyfs.1's examples have its like
        code, text = w.run(line)
        check(f"README: {line}", code == 0, text)
        if line.startswith("embassyfs"):
            w.unmount("/mnt/past")


def check_codes(w):
    """Each exit code that a page names is produced, and no page names one that is not."""
    d = w.dir
    run = w.run
    w.run(["embassy", "init", d + "/vol", "--key-file", w.key])
    with open(w.key, "rb") as f:
        w.file("other", f.read()[::-1])
    w.file("short", b"x")
    os.mkdir(d + "/m")
    os.mkdir(d + "/m2")
    volume = re.search(r"^id (\w+)", open(d + "/vol/volume.conf", encoding="utf-8").read(), re.M).group(1)

    def copy(name, change=None):
        shutil.copytree(d + "/vol", f"{d}/{name}")
        if change:
            change(f"{d}/{name}")
        return f"{d}/{name}"

    def damage(path):
        seg = sorted(glob.glob(path + "/log/*.seg"))[0]
        with open(seg, "r+b") as f:
            f.seek(200)
            b = f.read(1)
            f.seek(200)
            f.write(bytes([b[0] ^ 1]))

    def tamper(path):
        with open(path + "/volume.conf", "r+", encoding="utf-8") as f:
            text = f.read()
            f.seek(0)
            f.write(text.replace("serial 1\n", "serial 2\n"))  # no longer what was signed

    opened = os.path.join(d, "opened")
    shutil.copy(w.key, opened)
    os.chmod(opened, 0o644)
    damaged, tampered = copy("damaged", damage), copy("tampered", tamper)
    run(["embassyfs", copy("mounted"), d + "/m", "-o", "key-file=" + w.key])

    def interrupted():
        p = subprocess.Popen(["embassy", "status", d + "/m", "--watch"], env=w.env, stdout=subprocess.PIPE, text=True)
        p.stdout.readline()
        p.send_signal(signal.SIGINT)
        return p.wait(60)

    e = lambda *a: run(["embassy", *a])[0]
    f = lambda v, o="": run(["embassyfs", v, d + "/m2", "-o", ",".join(x for x in ("key-file=" + w.key, o) if x)])[0]
    key = ("--key-file", w.key)
    produced = {
        "embassy.1": {
            0: e("version"), 1: e("init", d + "/vol", *key), 2: e("bogus"), 10: e("status", d + "/none"),
            11: e("check", d + "/mounted", "--log-only"), 12: e("check", d + "/vol", "--key-file", d + "/other"),
            13: e("check", d + "/vol", "--key-file", opened), 20: e("check", damaged, *key), 21: e("check", tampered, *key),
            22: e("heads", d + "/vol", "--to", "3d"), 30: e("status", "127.0.0.1:1/" + volume), 130: interrupted()},
        "embassyfs.1": {
            0: run(["embassyfs", "--version"])[0], 1: f(d + "/vol", "key-file=" + d + "/short"), 2: f(d + "/vol", "bogus"),
            10: f(d + "/none"), 11: f(d + "/mounted"), 12: run(["embassyfs", d + "/vol", d + "/m2", "-o", f"key-file={d}/other"])[0],
            13: run(["embassyfs", d + "/vol", d + "/m2", "-o", "key-file=" + opened])[0], 20: f(damaged), 21: f(tampered),
            22: f(d + "/vol", "at=3d"), 30: f("127.0.0.1:1/" + volume, "at=latest")},
        "embassyd.8": {1: run(["embassyd", "--store", "/proc/none", "--listen", f"unix:{d}/s1", "--insecure"])[0],
                       2: run(["embassyd", "--bogus"])[0]},
    }
    w.serve(["embassyd", "--store", d + "/st", "--listen", f"unix:{d}/s2", "--insecure"])
    produced["embassyd.8"][11] = run(["embassyd", "--store", d + "/st", "--listen", f"unix:{d}/s3", "--insecure"])[0]
    w.servers[-1].terminate()
    produced["embassyd.8"][0] = w.servers[-1].wait(60)
    for page in (EMBASSY, EMBASSYFS, EMBASSYD):
        said = {int(x) for x in re.findall(r"(?:^|; )(\d+) ", page.words("EXIT STATUS"))}
        got = produced[page.name]
        check(f"{page.name}: its exit codes are those that are tried here", said == set(got), f"{said ^ set(got)}")
        for code, was in got.items():
            check(f"{page.name}: {code} is produced", was == code, f"it was {was}")
    w.unmount(d + "/m")


# ---- statements ----


def kill_all(w, mount):
    for pid in w.daemons(mount):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    w.run(["umount", "-l", mount])


def statements(w):
    """(page, section, what it says, whether it is so)."""
    d, mnt = w.dir, w.dir + "/s"
    os.mkdir(mnt)
    w.run(["embassy", "init", d + "/says", "--key-file", w.key])
    mount = ["embassyfs", d + "/says", mnt, "-o", "key-file=" + w.key]
    code, text = w.run(mount)
    check("mounted", code == 0, text)

    # What is durable.
    with open(mnt + "/synced", "wb") as f:
        f.write(b"x" * 300000)
        f.flush()
        os.fsync(f.fileno())
    fd = os.open(mnt + "/dsync", os.O_WRONLY | os.O_CREAT | os.O_DSYNC, 0o644)
    os.write(fd, b"y" * 5000)
    os.close(fd)
    with open(mnt + "/before", "wb") as f:
        f.write(b"z" * 2000000)
    snapshot = w.run(["embassy", "snapshot", mnt, "one"])
    kill_all(w, mnt)
    code, text = w.run(mount)
    check("mounted again after a kill of everything", code == 0, text)
    size = lambda n: os.stat(f"{mnt}/{n}").st_size if os.path.exists(f"{mnt}/{n}") else -1
    yield EMBASSYFS, "WHAT IS DURABLE", "on return it is durable on this host", size("synced") == 300000 and size("dsync") == 5000
    yield EMBASSYFS, "WHAT IS DURABLE", "embassy snapshot for everything", snapshot[0] == 0 and size("before") == 2000000

    # sync -f: with the next head.
    head = lambda: w.status(mnt)["head"]["number"]
    with open(mnt + "/handed-over", "wb") as f:
        f.write(b"w" * 700000)
    w.run(["sync", "-f", mnt])
    first, end = head(), time.monotonic() + 60
    while head() < first + 2 and time.monotonic() < end:
        with open(mnt + "/more", "a", encoding="utf-8") as f:
            f.write("more\n")
        w.run(["sync", mnt + "/more"])
        time.sleep(0.1)
    kill_all(w, mnt)
    w.run(mount)
    yield EMBASSYFS, "WHAT IS DURABLE", "is durable with the next head", size("handed-over") == 700000

    # fallocate, holes.
    f = open(mnt + "/space", "w+b")
    os.posix_fallocate(f.fileno(), 0, 8 << 20)
    st = os.stat(mnt + "/space")
    yield EMBASSYFS, "WHAT IS DURABLE", "sets no space aside", st.st_size == 8 << 20 and st.st_blocks == 0
    free = os.statvfs(mnt)
    try:
        os.posix_fallocate(f.fileno(), 0, (free.f_bavail + (1 << 30)) * free.f_frsize)
        error = 0
    except OSError as e:
        error = e.errno
    yield EMBASSYFS, "WHAT IS DURABLE", "fails with ENOSPC where the disk has less than that free", error == 28
    f.write(b"d" * (1 << 20))
    f.seek(4 << 20)
    f.write(b"d" * 4096)
    f.flush()
    seek = lambda where, how: os.lseek(f.fileno(), where, how)
    yield (EMBASSYFS, "WHAT IS DURABLE", "with SEEK_HOLE and SEEK_DATA tells where holes are",
           seek(0, os.SEEK_HOLE) == 1 << 20 and seek(1 << 20, os.SEEK_DATA) == 4 << 20)
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    punched = fallocate(f.fileno(), 3, 0, 1 << 20) == 0
    zeroed = fallocate(f.fileno(), 0x10, 4 << 20, 4096) == 0
    f.seek(0)
    yield EMBASSYFS, "WHAT IS DURABLE", "and read as zeros", punched and zeroed and not any(f.read())
    collapsed = fallocate(f.fileno(), 8, 0, 4096)
    yield EMBASSYFS, "WHAT IS DURABLE", "other modes fail with EOPNOTSUPP", collapsed == -1 and ctypes.get_errno() == 95
    f.close()

    # .embassy
    yield EMBASSYFS, "THE FOLDER .embassy", "in its root that no listing shows", ".embassy" not in os.listdir(mnt)
    yield EMBASSYFS, "OPTIONS", ".embassy is for root and the user who mounted alone", os.stat(mnt + "/.embassy").st_mode & 0o777 == 0o500
    os.mkdir(mnt + "/.embassy/snapshots/made")
    os.mkdir(mnt + "/.embassy/snapshots/held", 0o1755)
    os.rmdir(mnt + "/.embassy/snapshots/made")
    try:
        os.rmdir(mnt + "/.embassy/snapshots/held")
        held = False
    except PermissionError:
        held = True
    yield EMBASSYFS, "THE FOLDER .embassy", "with the sticky bit in its mode: a held one", held
    names = []
    for bad in ("a\x01b", "a" * 256, b"\xff"):
        try:
            os.mkdir((mnt + "/.embassy/snapshots/").encode() + (bad if isinstance(bad, bytes) else bad.encode()))
            names.append(0)
        except OSError as e:
            names.append(e.errno)
    yield EMBASSYFS, "THE FOLDER .embassy", "another is refused (EINVAL)", names[0] == names[2] == 22 and names[1] in (22, 36)
    past = mnt + "/.embassy/snapshots/one"
    try:
        os.unlink(past + "/synced")
        error = 0
    except OSError as e:
        error = e.errno
    yield EMBASSYFS, "THE FOLDER .embassy", "Whatever would change the past fails with EROFS", error == 30
    code, _ = w.run(["sync", mnt + "/.embassy"])
    yield EMBASSYFS, "THE FOLDER .embassy", "makes a signed head that states everything written so far", code == 0

    # embassy's commands
    e = lambda *a: w.run(["embassy", *a])
    e("release", mnt, "held")
    yield EMBASSY, "COMMANDS", "Take the hold off a snapshot, which stays", os.path.isdir(mnt + "/.embassy/snapshots/held")
    e("hold", mnt, "held")
    try:
        os.rmdir(mnt + "/.embassy/snapshots/held")
        held = False
    except PermissionError:
        held = True
    yield EMBASSY, "COMMANDS", "its name can't be taken away until", held
    code, text = e("upgrade", mnt)
    yield EMBASSY, "COMMANDS", "Returns 0 when the new program serves", code == 0 and "goes on" in text
    code, text = e("heads", mnt, "--json")
    yield EMBASSY, "COMMANDS", "prints one object a line", all(x.startswith('{"') and x.endswith("}") for x in text.splitlines())
    for t in ("2026-11-24 10:00", "2026-11-24T10:00:05", "2026-11-24 10:00:05.25", "2026-11-24 10:00Z", "2026-11-24 10:00 UTC",
              "2026-11-24 10:00+02:00", "2026-11-24 10:00+0200", "2026-11-24 10:00+02", "5m", "2h", "3d", "1h30m", "yesterday"):
        code, text = e("heads", mnt, "--from", t)
        check(f"embassy.1: TIME: {t}", code == 0, text)
    code, text = e("heads", mnt, "--to", "2100-01-01T00:00:00Z")
    yield EMBASSY, "TIME", "later than both the newest head and this clock is refused", code == 2
    code, text = e("heads", mnt, "--from", "5m")
    yield EMBASSY, "TIME", "What a TIME was taken for is printed", "20" in text
    w.unmount(mnt)
    code, text = e("status", d + "/says", "--json")
    yield EMBASSY, "COMMANDS", "Of a volume's folder, for each embassy", code == 0 and '"embassies_known": true' in text
    bom = w.file("bom", b"\xef\xbb\xbfcorrect horse battery\r\nsecond line\n")
    e("init", d + "/bom.vol", "--passphrase-file", bom)
    yield (EMBASSY, "OPTIONS", "without a byte-order mark at its beginning and a carriage return at its end",
           e("check", d + "/bom.vol", "--passphrase-file", w.passphrase)[0] == 0)
    nfc, nfd = w.file("nfc", "pass-p\u00e9age\n".encode()), w.file("nfd", "pass-pe\u0301age\n".encode())
    e("init", d + "/nfc.vol", "--passphrase-file", nfc)
    code, text = e("check", d + "/nfc.vol", "--passphrase-file", nfd)
    yield (EMBASSY, "OPTIONS", "UTF-8 is not normalised: type it where and as it was set", code == 12 and
           e("check", d + "/nfc.vol", "--passphrase-file", nfc)[0] == 0)
    check("a passphrase that is not ASCII and fails gets a hint", "normalis" in text, text)
    os.chmod(nfc, 0o640)
    yield EMBASSY, "OPTIONS", "A file whose mode lets its group or others read it is refused", e("check", d + "/nfc.vol", "--passphrase-file", nfc)[0] == 13
    sizes = [e("init", f"{d}/k{n}", "--key-file", w.file(f"key{n}", b"k" * n))[0] for n in (31, 32, 1 << 20, (1 << 20) + 1)]
    yield EMBASSY, "OPTIONS", "A file of 32 bytes to 1 MiB", sizes == [1, 0, 0, 1]
    code, _ = w.run(["embassyfs", d + "/says", mnt, "-o", "key-file=" + w.key + ",memory=8M"])
    yield EMBASSYFS, "OPTIONS", "at least 16M", code == 2
    code, _ = w.run(["embassyd", "--store", d + "/st2", "--listen", "192.0.2.1:7443", "--insecure"])
    yield EMBASSYD, "OPTIONS", "accepted on loopback addresses and Unix sockets only", code == 2
    line = w.serve(["embassyd", "--store", d + "/st2", "--listen", "127.0.0.1:0", "--insecure"])
    yield EMBASSYD, "OPTIONS", "Port 0 takes a free one and tells it", re.fullmatch(r"embassyd: listening on 127\.0\.0\.1:[1-9]\d+\n", line)


def mount_statements(w):
    """Of options and views."""
    d, mnt = w.dir, w.dir + "/o"
    os.mkdir(mnt)
    w.run(["embassy", "init", d + "/opts", "--key-file", w.key])
    comma = w.file("a,key", open(w.key, "rb").read())
    e = lambda *a: w.run(["embassy", *a])

    def f(options, target=d + "/opts"):
        return w.run(["embassyfs", target, mnt, "-o", options])

    key = "key-file=" + w.key
    code, text = f("key-file=" + comma.replace(",", "\\,") + ",memory=64M,flush=5,checkpoint=60")
    yield EMBASSYFS, "OPTIONS", "A comma inside a value is written \\,", code == 0 and os.path.ismount(mnt)
    first = [os.open(mnt + "/.embassy/status", os.O_RDONLY) for _ in range(2)]
    texts = [os.read(x, 100000) for x in first]
    for x in first:
        os.close(x)
    yield (EMBASSYFS, "THE FOLDER .embassy", "as JSON; a fresh text each time it is opened",
           all("embassies" in json.loads(t) for t in texts))
    code, text = e("drain", mnt, "--timeout", "1")
    check("a mount without an embassy has nothing to drain", code == 1, text)
    w.unmount(mnt)
    code, _ = f(",".join([key] + [f"embassy=127.0.0.1:{n}" for n in range(1, 18)]))
    yield EMBASSYFS, "OPTIONS", "May be given up to 16 times", code == 2
    open(mnt + "/hidden", "w", encoding="utf-8").close()
    code, _ = f(key)
    also, _ = f(key + ",nonempty")
    hidden = os.path.exists(mnt + "/hidden")
    yield EMBASSYFS, "OPTIONS", "Without this it is refused", code != 0 and also == 0 and not hidden
    w.unmount(mnt)
    os.unlink(mnt + "/hidden")
    code, _ = f(key + ",embassy=127.0.0.1:1")
    code, text = e("drain", mnt, "--timeout", "1")
    yield EMBASSY, "COMMANDS", "and with 30 after --timeout", code == 30
    w.unmount(mnt)
    code, text = f(key + ",ro")
    yield EMBASSYFS, "DESCRIPTION", "Every view says on standard error which head it stands at", re.search(r"at head \d+ of 20", text)
    yield EMBASSYFS, "DESCRIPTION", "works while the volume is mounted elsewhere on this host", code == 0
    try:
        open(mnt + "/x", "w", encoding="utf-8").close()
        error = 0
    except OSError as err:
        error = err.errno
    yield EMBASSYFS, "DESCRIPTION", "it is a read-only view", error == 30
    w.unmount(mnt)
    for t in re.split(r"[ ,]+", "head:1 latest 0s"):
        code, text = f(f"{key},at={t}")
        check(f"embassyfs.1: TIME: {t}", code == 0, text)
        w.unmount(mnt)
    code, text = f(key + ",at=2100-01-01T00:00:00Z")
    yield EMBASSYFS, "TIME", "later than both the newest head and this clock is refused", code == 2
    for size in "16777216", "16384K", "16M", "1G", "1T":
        code, text = f(f"{key},ro,memory={size}")
        check(f"embassyfs.1: a size of {size}", code == 0, text)
        w.unmount(mnt)

    # embassy
    code, text = e("init", d + "/fresh", "--key-file", w.key)
    yield (EMBASSY, "COMMANDS", "Prints the volume's ID and the next command",
           re.search(r"[0-9a-f]{32}", text) and f"embassyfs {d}/fresh MOUNT" in text)
    code, text = e("snapshots", d + "/fresh")
    yield EMBASSY, "COMMANDS", "On a copy (a folder or a server) this needs the key", code == 12
    shutil.rmtree(d + "/fresh/catalog")
    code, text = e("check", d + "/fresh", "--log-only")
    yield EMBASSY, "COMMANDS", "A missing or wrong catalog is rebuilt if this user can write there", code == 0 and os.path.isdir(d + "/fresh/catalog")
    e("tls", d + "/certs", "--host", "localhost")
    years = []
    for n in ("ca.pem", "server/cert.pem", "home/cert.pem", "embassy/cert.pem"):
        days = [365 * y for y in (2, 10) if w.run(["openssl", "x509", "-noout", "-checkend", str((365 * y - 2) * 86400),
                                                   "-in", f"{d}/certs/{n}"])[0] == 0]
        years.append(max(days, default=0) // 365)
    yield EMBASSY, "COMMANDS", "Make a certificate authority (ten years) and certificates (two years)", years == [10, 2, 2, 2]
    yield EMBASSY, "COMMANDS", "Nothing is overwritten", e("tls", d + "/certs")[0] == 1

    # embassyd
    for number in signal.SIGTERM, signal.SIGINT:
        w.serve(["embassyd", "--store", d + "/st3", "--listen", "127.0.0.1:0", "--tls", d + "/certs/server"])
        p = w.servers[-1]
        p.send_signal(signal.SIGHUP)
        line = p.stdout.readline()
        p.send_signal(number)
        yield EMBASSYD, "DESCRIPTION", "SIGTERM and SIGINT stop it in order", p.wait(60) == 0
        yield EMBASSYD, "DESCRIPTION", "says until when the certificate is good or what is wrong", re.search(r"20\d\d-", line)


def check_statements(w):
    for page, section, said, so in itertools.chain(statements(w), mount_statements(w)):
        words = page.words(section)
        check(f'{page.name} says "{said}"', said in words, f"{section} has no such words; correct this test with the page")
        check(f'{page.name}: it is so: "{said}"', so)


def main():
    build = os.path.realpath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build"))
    if os.geteuid() != 0:
        sys.exit("manpages: it mounts; run it as root")
    w = World(build)
    try:
        check_embassy_options(w.run)
        check_mount_options(w.run)
        check_server_options(w.run)
        check_events()
        check_codes(w)
        check_examples(w)
        check_statements(w)
    finally:
        w.close()
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
