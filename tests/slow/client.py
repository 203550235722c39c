"""One TCP connection to a service of the same container, and questions on it for ever: client.py nginx|postgresql|redis.

Each answer is a line "NUMBER SECONDS" in /root/counts, numbers in order from 1 on, seconds of the wall clock (CRIU lets the clock
since boot go on where it stood). A connection that breaks, or an answer that is not the next number, ends it with a word in
/root/broken."""
import os, socket, subprocess, sys, time


def own_address():
    out = subprocess.check_output(["ip", "-4", "-o", "addr", "show", "dev", "eth0"], text=True)
    return out.split(" inet ")[1].split("/")[0]


class Line:
    def __init__(self, address, port):
        self.socket = socket.create_connection((address, port))
        self.file = self.socket.makefile("rb")

    def say(self, text):
        self.socket.sendall(text.encode())

    def hear(self):
        line = self.file.readline()
        if not line:
            raise EOFError("the connection was closed")
        return line.decode().strip()


class Nginx(Line):
    def __init__(self):
        super().__init__(own_address(), 80)

    def ask(self, n):
        self.say(f"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        status = self.hear()
        while self.hear():
            pass
        if " 200 " not in status:
            raise ValueError(status)
        return n


class Redis(Line):
    def __init__(self):
        super().__init__("127.0.0.1", 6379)

    def ask(self, n):
        self.say("INCR n\r\n")
        return int(self.hear().lstrip(":"))


class Postgresql:
    def __init__(self):
        self.psql = subprocess.Popen(["psql", "-h", "127.0.0.1", "-U", "postgres", "-Atq", "-v", "ON_ERROR_STOP=1"], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, n):
        print("INSERT INTO counts DEFAULT VALUES RETURNING n;", file=self.psql.stdin, flush=True)
        line = self.psql.stdout.readline()
        if not line:
            raise EOFError("psql ended")
        return int(line)


service = {"nginx": Nginx, "postgresql": Postgresql, "redis": Redis}[sys.argv[1]]()
with open("/root/counts", "w", buffering=1) as counts:
    n = 0
    while True:
        n += 1
        try:
            answer = service.ask(n)
            if answer != n:
                raise ValueError(f"answer {answer} to question {n}")
        except Exception as problem:
            open("/root/broken", "w").write(f"{problem!r} at {n}\n")
            raise
        counts.write(f"{n} {time.time()}\n")
        time.sleep(0.02)
