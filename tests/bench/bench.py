"""Figures of a running daemon, one TSV line each: figure, ours, aim, unit, runs, and, when a peer is named, peer and ratio.

  tests/bench/run [--reps N] [--only PART] [--peer-bin BIN --peer-dir DIR] BIN_DIR

Starts a private incusd of BIN_DIR (use the release build) in its own folder, measures by the real `incus` command and by HTTP
on the unix socket, and removes everything. The peer (another incusd already running, its client and INCUS_DIR) is measured by
the same commands in the same minutes: it needs a pool `default`, and images may be imported there under names that begin with
"bench-". BENCH_IMAGE=A.tar.zst:B.tar.xz adds imports of these images. Nothing is timed in CI: figures are ratios of one run on one host."""
import argparse, concurrent.futures, glob, json, os, re, signal, socket, statistics, subprocess, sys, tempfile, threading, time, shutil

HERE = os.path.dirname(os.path.abspath(__file__))


class Side:
    def __init__(self, client, directory, pid):
        self.client, self.directory, self.pid = client, directory, pid
        self.env = dict(os.environ, INCUS_DIR=directory, INCUS_CONF=tempfile.mkdtemp(prefix="bench-conf."))

    def run(self, *args, check=True, stdin=subprocess.DEVNULL):
        start = time.perf_counter()
        done = subprocess.run([self.client, *args], env=self.env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        took = (time.perf_counter() - start) * 1000
        if check and done.returncode:
            sys.exit(f"{self.client} {' '.join(args)}: {done.stderr.decode()[-400:]}")
        return took

    def usage(self, *args):
        """CPU milliseconds and the peak of resident memory in MiB of one command."""
        out = subprocess.check_output([TOOLS + "/usage", self.client, *args], env=self.env).split()
        return float(out[0]), float(out[1]) / 1024


TOOLS = None  # folder of the C programs beside this file, compiled by main


def http_rate(side, path, connections=1, seconds=2.0):
    """GETs a second on keep-alive connections."""
    return float(subprocess.check_output([TOOLS + "/load", side.directory + "/unix.socket", path, str(connections), str(seconds)]))


def rss(pid):
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def monitors_pss(directory):
    total = 0.0
    for p in os.listdir("/proc"):
        if not p.isdigit():
            continue
        try:
            command = open(f"/proc/{p}/cmdline").read()
            if directory in command and ("lxc monitor" in command or "spawner" in command):
                total += next(int(l.split()[1]) for l in open(f"/proc/{p}/smaps_rollup") if l.startswith("Pss:")) / 1024
        except (OSError, StopIteration):
            pass
    return total


FIGURES = []


def figure(name, aim, unit, part):
    def register(function):
        FIGURES.append((name, aim, unit, part, function))
        return function
    return register


@figure("launch busybox, dir, no nic", 100, "ms", "life")
def launch(s, n):
    out = []
    for i in range(n):
        out.append(s.run("launch", "bench-bb", "b-l", "-p", "bench", "-q"))
        s.run("delete", "-f", "b-l")
    return out


@figure("launch busybox, dir, bridged nic", 130, "ms", "life")
def launch_nic(s, n):
    out = []
    for i in range(n):
        out.append(s.run("launch", "bench-bb", "b-l", "-p", "bench-nic", "-q"))
        s.run("delete", "-f", "b-l")
    return out


@figure("exec c -- true", 12, "ms", "life")
def exec_true(s, n):
    s.run("launch", "bench-bb", "b-e", "-p", "bench", "-q")
    out = [s.run("exec", "b-e", "--", "true") for _ in range(3 * n)]
    s.run("delete", "-f", "b-e")
    return out


@figure("stop -f of a running container", 60, "ms", "life")
def stop(s, n):
    out = []
    s.run("launch", "bench-bb", "b-s", "-p", "bench", "-q")
    for i in range(n):
        out.append(s.run("stop", "-f", "b-s"))
        s.run("start", "b-s")
    s.run("delete", "-f", "b-s")
    return out


@figure("delete -f of a running container", 80, "ms", "life")
def delete(s, n):
    out = []
    for i in range(n):
        s.run("launch", "bench-bb", "b-d", "-p", "bench", "-q")
        out.append(s.run("delete", "-f", "b-d"))
    return out


@figure("incus version: CPU", 3, "ms", "life")
def version_cpu(s, n):
    return [s.usage("version")[0] for _ in range(3 * n)]


@figure("incus version: peak of resident memory", 9, "MiB", "life")
def version_memory(s, n):
    return [s.usage("version")[1] for _ in range(n)]


@figure("list, 10 stopped", 8, "ms", "list")
def list_10(s, n):
    make_many(s, 10)
    return [s.run("list") for _ in range(3 * n)]


@figure("list, 15 stopped with 48,000 snapshots", 40, "ms", "list")
def list_snapshots(s, n):
    """Rows of the database, which is all that a list reads of them."""
    make_many(s, 15)
    of_ours = "instance_id IN (SELECT id FROM instances WHERE name LIKE 'b-n%')"
    s.run("admin", "sql", "global",
          "INSERT INTO instances_snapshots (instance_id, name, description) WITH RECURSIVE n (i) AS "
          "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3200) SELECT instances.id, 'snap' || n.i, '' "
          "FROM instances, n WHERE instances.name LIKE 'b-n%'")
    out = [s.run("list") for _ in range(3 * n)]
    s.run("admin", "sql", "global", "DELETE FROM instances_snapshots WHERE " + of_ours)
    return out


@figure("list, 100 stopped", 10, "ms", "list")
def list_100(s, n):
    make_many(s, 100)
    return [s.run("list") for _ in range(3 * n)]


@figure("list, 500 stopped", 30, "ms", "list")
def list_500(s, n):
    make_many(s, 500)
    return [s.run("list") for _ in range(3 * n)]


@figure("GET /1.0/instances?recursion=1, 500 stopped", 400, "req/s", "list")
def rest_500(s, n):
    make_many(s, 500)
    return [http_rate(s, "/1.0/instances?recursion=1") for _ in range(3)]


@figure("GET /1.0/instances?recursion=2, 500 stopped", 200, "req/s", "list")
def rest_500_full(s, n):
    make_many(s, 500)
    return [http_rate(s, "/1.0/instances?recursion=2") for _ in range(3)]


@figure("GET /1.0/instances?recursion=2, 50 running", 200, "req/s", "memory")
def rest_50_full(s, n):
    drop_many(s)
    for i in range(50):
        s.run("launch", "bench-bb", f"b-r{i}", "-p", "bench", "-q")
    out = [http_rate(s, "/1.0/instances?recursion=2") for _ in range(3)]
    s.run("delete", "-f", *[f"b-r{i}" for i in range(50)])
    return out


@figure("GET /1.0, one connection", 20000, "req/s", "rest")
def rest_root(s, n):
    return [http_rate(s, "/1.0") for _ in range(3)]


@figure("GET /1.0, eight connections", 60000, "req/s", "rest")
def rest_root_8(s, n):
    return [http_rate(s, "/1.0", 8) for _ in range(3)]


@figure("resident with 20 running, monitors' PSS included", 65, "MiB", "memory")
def memory_20(s, n):
    if not s.pid:
        return []
    drop_many(s)
    for i in range(20):
        s.run("launch", "bench-bb", f"b-m{i}", "-p", "bench", "-q")
    value = rss(s.pid) + monitors_pss(s.directory)
    s.run("delete", "-f", *[f"b-m{i}" for i in range(20)])
    return [value]


@figure("50 launches, one by one", 3000, "ms", "many")
def launch_50(s, n):
    drop_many(s)
    out = sum(s.run("launch", "bench-bb", f"b-x{i}", "-p", "bench", "-q") for i in range(50))
    return [out]


@figure("delete of 50 running, one by one", 3000, "ms", "many")
def delete_50(s, n):
    return [sum(s.run("delete", "-f", f"b-x{i}") for i in range(50))]


@figure("50 launches, eight at once", 2000, "ms", "many")
def launch_50_at_once(s, n):
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: s.run("launch", "bench-bb", f"b-x{i}", "-p", "bench", "-q"), range(50)))
    took = (time.perf_counter() - start) * 1000
    s.run("delete", "-f", *[f"b-x{i}" for i in range(50)])
    return [took]


def big_file(megabytes=1024):
    f = tempfile.NamedTemporaryFile(dir="/var/tmp")
    for _ in range(megabytes):
        f.write(os.urandom(1 << 20))
    f.flush()
    return f


@figure("cp of 1 GiB, what this disk does just now", 0, "MB/s", "data")
def yardstick(s, n):
    out = []
    with big_file() as f, tempfile.TemporaryDirectory(dir="/var/tmp") as to:
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(["cp", "--reflink=never", f.name, to + "/big"], check=True)
            out.append((1 << 30) / 1e6 / (time.perf_counter() - start))
            os.unlink(to + "/big")
    return out


@figure("file push of 1 GiB", 1000, "MB/s", "data")
def push(s, n):
    with big_file() as f:
        s.run("launch", "bench-bb", "b-p", "-p", "bench", "-q")
        out = []
        for _ in range(3):
            out.append((1 << 30) / 1e3 / s.run("file", "push", f.name, "b-p/root/big"))
            s.run("file", "delete", "b-p/root/big")
        s.run("delete", "-f", "b-p")
    return out


@figure("file pull of 1 GiB", 1000, "MB/s", "data")
def pull(s, n):
    with big_file() as f, tempfile.TemporaryDirectory(dir="/var/tmp") as to:
        s.run("launch", "bench-bb", "b-p", "-p", "bench", "-q")
        s.run("file", "push", f.name, "b-p/root/big")
        out = []
        for _ in range(3):
            out.append((1 << 30) / 1e3 / s.run("file", "pull", "b-p/root/big", to + "/big"))
            os.unlink(to + "/big")
        s.run("delete", "-f", "b-p")
    return out


def make_heavy(s):
    """An image of 300 MB, unpacked in a pool of each driver by the instances b-h-dir and b-h-btrfs."""
    if getattr(s, "heavy", False):
        return
    s.run("storage", "create", "bench-btrfs", "btrfs", "size=6GiB")
    s.heavy = True
    s.run("create", "bench-bb", "b-h", "-p", "bench", "-q")
    with big_file(300) as f:
        s.run("file", "push", f.name, "b-h/root/big")
    s.run("publish", "b-h", "--alias", "bench-300")
    s.run("delete", "b-h")
    for driver, pool in POOLS:
        s.run("create", "bench-300", f"b-h-{driver}", "-p", "bench", "-s", pool, "-q")


def drop_heavy(s):
    if getattr(s, "heavy", False):
        s.run("delete", "-f", *[f"b-h-{driver}" for driver, _ in POOLS], check=False)
        s.run("image", "delete", "bench-300", check=False)
        s.run("storage", "delete", "bench-btrfs", check=False)


POOLS = (("dir", "default"), ("btrfs", "bench-btrfs"))


def heavy_figures(driver, pool, create_aim, aim):
    """What is done to 300 MB inside one pool."""
    source = f"b-h-{driver}"

    @figure(f"create from a cached image of 300 MB, {driver}", create_aim, "ms", "storage")
    def create(s, n):
        make_heavy(s)
        out = []
        for _ in range(n):
            out.append(s.run("create", "bench-300", "b-hc", "-p", "bench", "-s", pool, "-q"))
            s.run("delete", "b-hc")
        return out

    @figure(f"snapshot of 300 MB, {driver}", aim, "ms", "storage")
    def snapshot(s, n):
        make_heavy(s)
        out = []
        for _ in range(n):
            out.append(s.run("snapshot", "create", source, "s"))
            s.run("snapshot", "delete", source, "s")
        return out

    @figure(f"restore of 300 MB, {driver}", aim, "ms", "storage")
    def restore(s, n):
        make_heavy(s)
        s.run("snapshot", "create", source, "s")
        out = [s.run("snapshot", "restore", source, "s") for _ in range(n)]
        s.run("snapshot", "delete", source, "s")
        return out

    @figure(f"copy of 300 MB, {driver}", aim, "ms", "storage")
    def copy(s, n):
        make_heavy(s)
        out = []
        for _ in range(n):
            out.append(s.run("copy", source, "b-hc"))
            s.run("delete", "b-hc")
        return out


for (driver, pool), (create_aim, aim) in zip(POOLS, ((250, 300), (40, 30))):
    heavy_figures(driver, pool, create_aim, aim)


@figure("export of 300 MB, default compression", 1000, "ms", "storage")
def export_300(s, n):
    make_heavy(s)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as to:
        return [s.run("export", "b-h-dir", f"{to}/{i}.backup") for i in range(3)]


@figure("import of 300 MB, default compression", 1000, "ms", "storage")
def import_300(s, n):
    make_heavy(s)
    out = []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as to:
        s.run("export", "b-h-dir", to + "/backup")
        for _ in range(3):
            out.append(s.run("import", to + "/backup", "b-hc"))
            s.run("delete", "b-hc")
    return out


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def make_second(s):
    """Another daemon of ours, the remote "two" of the first's client, with the same pools."""
    if getattr(s, "second", None):
        return
    bin_dir, port = os.path.dirname(s.client), free_port()
    directory = s.directory + "2"
    os.mkdir(directory)
    process, _ = start_daemon(bin_dir, directory, "--debug")
    two = s.second = Side(s.client, directory, process.pid)
    two.process = process
    s.run("config", "set", "core.https_address", f"127.0.0.1:{free_port()}")
    two.run("config", "set", "core.https_address", f"127.0.0.1:{port}")
    two.run("storage", "create", "default", "dir")
    two.run("storage", "create", "bench-btrfs", "btrfs", "size=6GiB")
    token = subprocess.check_output([s.client, "config", "trust", "add", "bench", "-q"], env=two.env).decode().strip()
    s.run("remote", "add", "two", f"https://127.0.0.1:{port}", "--accept-certificate", "--token", token)


def drop_second(s):
    two = getattr(s, "second", None)
    if two:
        s.run("delete", "-f", "two:b-hc", "two:b-s", "two:b-v", check=False)
        two.run("storage", "delete", "bench-btrfs", check=False)
        stop_daemon(two.process)
        shutil.rmtree(two.env["INCUS_CONF"], ignore_errors=True)


@figure("cp -a and sha256sum of 300 MB, what this host does just now", 0, "ms", "between")
def copy_yardstick(s, n):
    """The least that a copy over TLS costs: each byte is written once and enciphered."""
    out = []
    with big_file(300) as f, tempfile.TemporaryDirectory(dir="/var/tmp") as to:
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(["cp", "--reflink=never", f.name, to + "/big"], check=True)
            subprocess.run(["sha256sum", to + "/big"], check=True, stdout=subprocess.DEVNULL)
            out.append((time.perf_counter() - start) * 1000)
            os.unlink(to + "/big")
    return out


def between_figure(driver, pool, aim):
    @figure(f"copy of 300 MB between two servers over TLS, {driver}", aim, "ms", "between")
    def between(s, n):
        if not s.pid:
            return []
        make_heavy(s)
        make_second(s)
        out = []
        for _ in range(n):
            out.append(s.run("copy", f"b-h-{driver}", "two:b-hc", "-s", pool, "--no-profiles"))
            s.run("delete", "two:b-hc")
        return out


for (driver, pool), aim in zip(POOLS, (1500, 1000)):
    between_figure(driver, pool, aim)


def criu_missing(s):
    """Why there are no figures of containers' state, or None."""
    server = json.loads(subprocess.check_output([s.client, "query", "/1.0"], env=s.env))
    version = server["environment"].get("criu", "none (a server without it)")
    return version if version.startswith("none") else None


def counts(s, name):
    text = subprocess.check_output([s.client, "exec", name, "--", "cat", "/root/counts"], env=s.env).decode()
    return [float(line.split()[1]) for line in text.splitlines()]


def make_counting(s):
    """The container b-s, with numbers and the wall clock's times in /root/counts."""
    s.run("launch", "bench-bb", "b-s", "--no-profiles", "-s", "default", "-c", "migration.stateful=true", "-q")
    s.run("file", "push", TOOLS + "/count", "b-s/root/count")
    s.run("exec", "b-s", "--", "sh", "-c", "setsid /root/count </dev/null >/dev/null 2>&1 &")


def make_redis(s, image):
    """The container b-s, with 200 MB in Redis and a client that has one connection to it."""
    s.run("image", "import", image, "--alias", "bench-deb")
    s.run("launch", "bench-deb", "b-s", "--no-profiles", "-s", "default", "-c", "migration.stateful=true", "-q")
    while not answers(s, "b-s", "redis-cli", "ping"):
        time.sleep(0.2)
    fill = "for i = 1, 200000 do redis.call('set', 'k' .. i, string.rep(tostring(i * 7919 % 100003), 200)) end"
    s.run("exec", "b-s", "--", "redis-cli", "EVAL", fill, "0")
    s.run("file", "push", HERE + "/../slow/client.py", "b-s/root/client.py")
    s.run("exec", "b-s", "--", "systemd-run", "-q", "python3", "/root/client.py", "redis")


def downtimes(s, n):
    """Milliseconds without a number, of n moves of b-s there and back; it is gone at the end."""
    out, here, there = [], "local", "two"
    for _ in range(n):
        time.sleep(1)  # so that it has answered before
        before = len(counts(s, f"{here}:b-s"))
        s.run("move", f"{here}:b-s", f"{there}:")
        here, there = there, here
        times = counts(s, f"{here}:b-s")[before - 1:]
        out.append(max(b - a for a, b in zip(times, times[1:])) * 1000)
    s.run("delete", "-f", f"{here}:b-s")
    return out


@figure("stop --stateful and start, busybox", 600, "ms", "state")
def stop_with_state(s, n):
    if criu_missing(s):
        print("# state of containers: skipped,", criu_missing(s), file=sys.stderr)
        return []
    make_counting(s)
    out = [s.run("stop", "--stateful", "b-s") + s.run("start", "b-s") for _ in range(n)]
    s.run("delete", "-f", "b-s")
    return out


@figure("live move of busybox between two servers: downtime", 400, "ms", "state")
def move_busybox(s, n):
    if not s.pid or criu_missing(s):
        return []
    make_second(s)
    make_counting(s)
    return downtimes(s, n)


@figure("live move of Redis with 200 MB between two servers: downtime", 1000, "ms", "state")
def move_redis(s, n):
    images = sorted(glob.glob(os.path.expanduser("~/.cache/incus-debian/*.tar.zst")), key=os.path.getmtime)
    if not images:
        print("# live move of Redis: skipped, tests/lib/make-debian-image was not run", file=sys.stderr)
    if not images or not s.pid or criu_missing(s):
        return []
    make_second(s)
    make_redis(s, images[-1])
    out = downtimes(s, n)
    s.run("image", "delete", "bench-deb")
    return out


def machines_missing():
    """Why there are no figures of virtual machines, or None."""
    for program in ("libvirtd", "qemu-system-x86_64", "qemu-img"):
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
            return f"{program} is missing"
    return None


def answers(s, name, *command):
    return subprocess.run([s.client, "exec", name, "--", *(command or ("true",))], env=s.env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def machine_kernel():
    """Options that boot the image's own kernel, without firmware."""
    m = TOOLS + "/machine"
    return ["-c", f"raw.qemu=-kernel {m}/kernel -initrd {m}/initrd -append '{open(m + '/cmdline').read()}'"]


def make_machine_image(s):
    if not getattr(s, "machine", False):
        agent = os.path.dirname(s.client) + "/incus-agent"
        out = subprocess.run([HERE + "/../lib/make-vm-image", "--agent", agent, TOOLS + "/machine"], stdout=subprocess.PIPE)
        if out.returncode:
            sys.exit(out.stdout.decode())
        s.run("image", "import", *out.stdout.decode().split(), "--alias", "bench-vm")
        s.machine = True


def launch_machine(s, name, direct=False):
    """Milliseconds from the command to an agent that answers."""
    make_machine_image(s)
    options = machine_kernel() if direct else []
    start = time.perf_counter()
    s.run("launch", "bench-vm", name, "--vm", "-p", "bench", "-q", "-c", "security.secureboot=false",
          "-c", "limits.memory=256MiB", *options)
    wait_agent(s, name, start)
    return (time.perf_counter() - start) * 1000


def wait_agent(s, name, start):
    while not answers(s, name):
        if time.perf_counter() - start > 300:
            sys.exit(f"the agent of {name} does not answer")
        time.sleep(0.05)  # asking without a pause would take the processors from the machine


def machine_launches(s, n, direct):
    if not s.pid or machines_missing():
        print("# virtual machines: skipped,", machines_missing() or "not for a peer", file=sys.stderr)
        return []
    out = []
    for _ in range(min(n, 3)):
        out.append(launch_machine(s, "b-v", direct))
        s.run("delete", "-f", "b-v")
    return out


@figure("launch of the test machine's kernel, to its agent's answer", 4000, "ms", "vm")
def machine_launch_direct(s, n):
    return machine_launches(s, n, True)


@figure("launch of the test machine through OVMF, to its agent's answer", 8000, "ms", "vm")
def machine_launch(s, n):
    return machine_launches(s, n, False)


@figure("exec v -- true, its agent warm", 40, "ms", "vm")
def machine_exec(s, n):
    if not s.pid or machines_missing():
        return []
    launch_machine(s, "b-v", True)
    out = [s.run("exec", "b-v", "--", "true") for _ in range(3 * n)]
    s.run("delete", "-f", "b-v")
    return out


class Listener:
    """When each number of a machine that counts was heard: its own clock stands still with it."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.heard = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            number = int(self.socket.recv(64).split()[0])
            self.heard.append((time.perf_counter(), number))

    def gap(self, now, since):
        """The longest time without a number, in milliseconds, since the one of that index until well after `now`."""
        patience = time.perf_counter() + 60
        while len(self.heard) < now + 50:
            if time.perf_counter() > patience:
                sys.exit("the machine is not heard any more")
            time.sleep(0.05)
        heard = self.heard[since - 1:]
        if any(b[1] <= a[1] for a, b in zip(heard, heard[1:])):
            sys.exit("the machine's counter went back")
        return max(b[0] - a[0] for a, b in zip(heard, heard[1:])) * 1000


def make_counting_machine(s):
    """The machine b-v with 256 MB of memory and a disk of 64 MB; returns who hears its numbers."""
    make_machine_image(s)
    address = subprocess.check_output([s.client, "network", "get", "benchbr0", "ipv4.address"], env=s.env).decode().split("/")[0]
    listener = Listener(address)
    s.run("init", "bench-vm", "b-v", "--vm", "--no-profiles", "-s", "default", "-d", "root,size=64MB", "-q", "-c", "migration.stateful=true",
          "-c", "security.secureboot=false", "-c", "limits.memory=256MB")
    s.run("config", "device", "add", "b-v", "eth0", "nic", "nictype=bridged", "parent=benchbr0")
    s.run("start", "b-v")
    wait_agent(s, "b-v", time.perf_counter())
    s.run("file", "push", TOOLS + "/count", "b-v/root/count")
    port = listener.socket.getsockname()[1]
    s.run("exec", "b-v", "--", "sh", "-c", f"setsid /root/count {address} {port} </dev/null >/dev/null 2>&1 &")
    while len(listener.heard) < 100:
        time.sleep(0.1)
    return listener


def machine_moves(s, n):
    """Of each move there and back: milliseconds, milliseconds without a number, MB of memory as they travelled."""
    if getattr(s, "moves", None) is None:
        s.moves = []
        if not s.pid or machines_missing():
            return s.moves
        make_second(s)
        listener = make_counting_machine(s)
        here, there = "local", "two"
        for _ in range(2 * min(n, 3)):
            before = len(listener.heard)
            took = s.run("move", f"{here}:b-v", f"{there}:")
            here, there = there, here
            log = open(s.second.directory + ".log").read()
            packed = re.findall(r'Carried.*what="?memory"?.*packed="?([0-9]+)', log)
            s.moves.append((took, listener.gap(len(listener.heard), before), int(packed[-1]) / 1e6))
        s.run("delete", "-f", f"{here}:b-v")
    return s.moves


@figure("live move of the test machine between two servers: all of it", 4000, "ms", "move")
def machine_move(s, n):
    return [move[0] for move in machine_moves(s, n)]


@figure("live move of the test machine between two servers: downtime", 150, "ms", "move")
def machine_move_downtime(s, n):
    return [move[1] for move in machine_moves(s, n)]


@figure("live move of the test machine between two servers: its memory on the wire", 30, "MB", "move")
def machine_move_memory(s, n):
    return [move[2] for move in machine_moves(s, n)]


def running(s):
    """{name: pid} of what runs."""
    out = subprocess.check_output([s.client, "query", "/1.0/instances?recursion=2"], env=s.env)
    return {i["name"]: i["state"]["pid"] for i in json.loads(out) if i["status"] == "Running"}


def restart_with_machines(bin_dir, s, process, n):
    """With five machines and twenty containers, every one of which is to be found again as it runs."""
    if machines_missing():
        return process
    for i in range(5):
        launch_machine(s, f"b-v{i}", True)
    for i in range(20):
        s.run("launch", "bench-bb", f"b-m{i}", "-p", "bench", "-q")
    before = running(s)
    if len(before) != 25:
        sys.exit(f"{len(before)} of 25 instances run")
    values = []
    for _ in range(n):
        process.terminate()
        process.wait()
        process, took = start_daemon(bin_dir, s.directory)
        s.pid = process.pid
        if running(s) != before:
            sys.exit("a restart of the server lost or restarted an instance")
        values.append(took)
    report("restart to ready, 5 machines and 20 containers found again", 300, "ms", values, None)
    s.run("delete", "-f", *before)
    return process


def images():
    """Files of BENCH_IMAGE, separated by colons: the same 480 MB in several compressions."""
    return [f for f in os.environ.get("BENCH_IMAGE", "").split(":") if f]


def skipped():
    print("# import, first create and publish: skipped, BENCH_IMAGE names no files", file=sys.stderr)
    return []


def image_figures(part):
    """One row for each image and step, as (name, aim, values)."""
    creates = {"zst": 1500, "gz": 3000, "xz": 6000}

    def measure(s, path):
        imports, firsts, publishes = [], [], []
        for _ in range(3):
            imports.append(s.run("image", "import", path, "--alias", "bench-big"))
            firsts.append(s.run("create", "bench-big", "b-i", "-p", "bench", "-q"))
            if path == images()[0]:
                publishes.append(s.run("publish", "b-i", "--alias", "bench-out"))
                s.run("image", "delete", "bench-out")
            s.run("delete", "b-i")
            s.run("image", "delete", "bench-big")
        return imports, firsts, publishes

    for path in images() or skipped():
        kind = path.rsplit(".", 1)[-1]
        measured = {}

        def step(s, n, index, path=path, measured=measured):
            if id(s) not in measured:
                measured[id(s)] = measure(s, path)
            return measured[id(s)][index]
        figure(f"import of an image, {kind}", 1000, "ms", part)(lambda s, n, step=step: step(s, n, 0))
        figure(f"first create from it, {kind}", creates.get(kind, 3000), "ms", part)(lambda s, n, step=step: step(s, n, 1))
        if path == images()[0]:
            figure("publish of it, default compression", 2000, "ms", part)(lambda s, n, step=step: step(s, n, 2))


def make_many(s, n):
    have = getattr(s, "many", 0)
    for i in range(have, n):
        s.run("create", "bench-bb", f"b-n{i}", "-p", "bench", "-q")
    s.many = max(have, n)


def drop_many(s):
    names = [f"b-n{i}" for i in range(getattr(s, "many", 0))]
    s.many = 0
    for i in range(0, len(names), 50):
        s.run("delete", *names[i:i + 50])


def prepare(s, image):
    s.run("image", "import", image, "--alias", "bench-bb")
    for profile in ("bench", "bench-nic"):
        s.run("profile", "create", profile)
        s.run("profile", "device", "add", profile, "root", "disk", "path=/", "pool=default")
    s.run("network", "create", "benchbr0", "ipv6.address=none")
    s.run("profile", "device", "add", "bench-nic", "eth0", "nic", "network=benchbr0", "name=eth0")


def clean(s):
    drop_many(s)
    s.run("delete", "-f", "b-v", check=False)
    drop_second(s)
    drop_heavy(s)
    for profile in ("bench", "bench-nic"):
        s.run("profile", "delete", profile, check=False)
    s.run("network", "delete", "benchbr0", check=False)
    s.run("image", "delete", "bench-bb", check=False)
    s.run("image", "delete", "bench-vm", check=False)
    shutil.rmtree(s.env["INCUS_CONF"], ignore_errors=True)


def start_daemon(bin_dir, directory, *options):
    env = dict(os.environ, INCUS_DIR=directory)
    start = time.perf_counter()
    p = subprocess.Popen([bin_dir + "/incusd", "--logfile", directory + ".log", *options], env=env, stdin=subprocess.DEVNULL)
    subprocess.run([bin_dir + "/incus", "admin", "waitready", "--timeout=30"], env=env, check=True)
    return p, (time.perf_counter() - start) * 1000


def stop_daemon(process):
    process.send_signal(signal.SIGPWR)  # instances too
    process.wait()


def report(name, aim, unit, values, peer_values):
    if not values:
        return
    ours = statistics.median(values)
    line = [name, f"{ours:.4g}" if ours < 10000 else f"{ours:.0f}", str(aim), unit, str(len(values))]
    if peer_values:
        peer = statistics.median(peer_values)
        ratio = ours / peer if unit.endswith("/s") else peer / ours
        line += [f"{peer:.4g}" if peer < 10000 else f"{peer:.0f}", f"{ratio:.1f}x"]
    print("\t".join(line), flush=True)


def restarts(bin_dir, side, process, name, aim, n):
    values = []
    for _ in range(n):
        process.terminate()
        process.wait()
        process, took = start_daemon(bin_dir, side.directory)
        values.append(took)
    side.pid = process.pid
    report(name, aim, "ms", values, None)
    # Fresh, with nothing in it but what the name says.
    report(name.replace("restart to ready", "resident"), 25, "MiB", [rss(process.pid)], None)
    return process


def compile_tools(work):
    global TOOLS
    TOOLS = work
    for tool, how in (("load", "-pthread"), ("usage", "-pthread"), ("count", "-static")):
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", f"{work}/{tool}", f"{HERE}/{tool}.c", how], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin_dir")
    parser.add_argument("--reps", type=int, default=7)
    parser.add_argument("--only", help="life, list, many, rest, memory, data, storage, between, state, vm, move, image or restart")
    parser.add_argument("--peer-bin")
    parser.add_argument("--peer-dir")
    a = parser.parse_args()
    bin_dir = os.path.abspath(a.bin_dir)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped then too
    if not os.access(bin_dir + "/incusd", os.X_OK):
        parser.error(f"{bin_dir} holds no incusd: build the release preset and name its bin folder")
    if os.geteuid():
        parser.error("containers are started: run this as root")
    work = tempfile.mkdtemp(prefix="bench.", dir="/var/tmp")
    os.chmod(work, 0o711)
    compile_tools(work)
    image_figures("image")
    subprocess.run([HERE + "/../lib/make-image", work + "/image"], check=True, stdout=subprocess.DEVNULL)
    image = work + "/image/busybox.tar.gz"
    directory = work + "/d"
    os.mkdir(directory)
    process, took = start_daemon(bin_dir, directory)
    ours = Side(bin_dir + "/incus", directory, process.pid)
    peer = Side(a.peer_bin, a.peer_dir, None) if a.peer_bin else None
    print("figure\tours\taim\tunit\truns" + ("\tpeer\tratio" if peer else ""), flush=True)
    try:
        if a.only in (None, "restart"):
            process = restarts(bin_dir, ours, process, "restart to ready, empty", 30, a.reps)
        ours.run("storage", "create", "default", "dir")
        prepare(ours, image)
        if peer:
            prepare(peer, image)
        if a.only in (None, "restart"):
            process = restarts(bin_dir, ours, process, "restart to ready, one bridge and one pool", 120, a.reps)
        for name, aim, unit, part, function in FIGURES:
            if a.only in (None, part):
                report(name, aim, unit, function(ours, a.reps), function(peer, a.reps) if peer else None)
        if a.only in (None, "vm"):
            process = restart_with_machines(bin_dir, ours, process, a.reps)
    finally:
        for side in filter(None, (ours, peer)):
            try:
                clean(side)
            except SystemExit as e:
                print("#", e, file=sys.stderr)
        stop_daemon(process)
        for m in reversed([l.split()[1] for l in open("/proc/self/mounts") if l.split()[1].startswith(work)]):
            subprocess.run(["umount", "-l", m])
        shutil.rmtree(work, ignore_errors=True)


main()
