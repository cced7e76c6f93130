"""What a program may ask of the kernel: a list of harmless system calls, installed as a seccomp filter (Linux, x86-64 and arm64).

A filter is a small program in the kernel's packet-filter language that sees the number and the arguments of each system call, but
not the memory that they point to. It is made once, by the process that forks, and installed by each child in some microseconds.
What is not on the list is answered with an error, not with a kill, so that an honest program can fall back: "not implemented" for
what libraries probe for, "not permitted" for what reaches beyond the process. Only calls of another architecture kill, as their
numbers mean something else. Runs in processes without guerdon, so the standard library only. See ``man 2 seccomp``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

# System calls that need no look at their arguments.
ALLOWED = {
    # With PROT_EXEC too: ctypes needs it, and machine code is held by the same list.
    "memory": """
        brk get_mempolicy madvise membarrier mincore mlock mlock2 mmap mprotect mremap msync munlock munlockall munmap
        pkey_alloc pkey_free pkey_mprotect
    """,
    # Which files is the business of mounts and Landlock.
    "files": """
        access chdir close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fallocate fchdir
        fdatasync fgetxattr flistxattr flock fstat fstatfs fsync ftruncate getcwd getdents getdents64 getxattr lgetxattr link
        linkat listxattr llistxattr lseek lstat mkdir mkdirat newfstatat pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
        readahead readlink readlinkat readv rename renameat renameat2 rmdir sendfile stat statfs statx symlink symlinkat
        sync_file_range umask unlink unlinkat write writev
    """,
    "waiting": """
        epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 pause pipe pipe2 poll ppoll
        pselect6 select signalfd signalfd4
    """,
    # A timer can signal its own process only.
    "time": """
        alarm clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer time timer_create
        timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times
    """,
    "threads": """
        exit exit_group futex futex_waitv restart_syscall rseq sched_get_priority_max sched_get_priority_min sched_getaffinity
        sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_yield set_robust_list set_tid_address
        wait4 waitid
    """,
    "signals of its own": "rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sigaltstack",
    "questions": """
        arch_prctl capget getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getrandom
        getresgid getresuid getrlimit getrusage getsid gettid getuid ioprio_get sysinfo uname
    """,
    # Nobody without privileges raises a hard limit.
    "own limits": "setrlimit",
    # An event loop of asyncio wakes itself with a pair.
    "socket pairs": "getpeername getsockname getsockopt recvfrom recvmmsg recvmsg shutdown",
}
# Not permitted, as they reach beyond the process or outlive it. What stands nowhere here is "not implemented".
REFUSED = {
    "other processes": """
        get_robust_list ioprio_set kcmp migrate_pages move_pages pidfd_getfd pidfd_open pidfd_send_signal process_madvise
        process_mrelease process_vm_readv process_vm_writev ptrace sched_setattr sched_setparam sched_setscheduler
    """,
    "memory outside its limits or without a file": "memfd_create memfd_secret mlockall userfaultfd",
    "what outlives the process": """
        add_key keyctl mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd
        request_key semctl semget semop semtimedop shmat shmctl shmdt shmget
    """,
    "who it is": """
        capset personality setfsgid setfsuid setgid setgroups setns setregid setresgid setresuid setreuid setuid unshare
    """,
    "its own confinement": "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp",
    "files beside its paths": """
        chroot fanotify_init fanotify_mark fsconfig fsmount fsopen fspick mknod mknodat mount mount_setattr move_mount
        name_to_handle_at open_by_handle_at open_tree pivot_root sync syncfs umount2
    """,
    "the machine": """
        acct adjtimex bpf clock_adjtime clock_settime delete_module finit_module init_module io_uring_enter io_uring_register
        io_uring_setup ioperm iopl kexec_file_load kexec_load lookup_dcookie modify_ldt nfsservctl perf_event_open quotactl
        quotactl_fd reboot setdomainname sethostname settimeofday swapoff swapon syslog uselib vhangup
    """,
    # A descriptor sent over the channel would lie in its reader's queue.
    "messages": "sendmmsg sendmsg",
}
NETWORK = "accept accept4 bind connect listen socket"  # EACCES, the usual answer where a network is closed
METADATA = "chmod chown fchmod fchmodat fchmodat2 fchown fchownat futimesat lchown utime utimensat utimes"
ATTRIBUTES = "fremovexattr fsetxattr lremovexattr lsetxattr removexattr setxattr"

# Numbers by name: x86-64, arm64 ("-": not there). Facts of the kernel's interface: <asm/unistd_64.h> and <asm-generic/unistd.h>.
_NUMBERS = """
    accept:43:202 accept4:288:242 access:21:- acct:163:89 add_key:248:217 adjtimex:159:171 alarm:37:- arch_prctl:158:-
    bind:49:200 bpf:321:280 brk:12:214 capget:125:90 capset:126:91 chdir:80:49 chmod:90:- chown:92:- chroot:161:51
    clock_adjtime:305:266 clock_getres:229:114 clock_gettime:228:113 clock_nanosleep:230:115 clock_settime:227:112
    clone:56:220 clone3:435:435 close:3:57 close_range:436:436 connect:42:203 copy_file_range:326:285 creat:85:-
    delete_module:176:106 dup:32:23 dup2:33:- dup3:292:24 epoll_create:213:- epoll_create1:291:20 epoll_ctl:233:21
    epoll_pwait:281:22 epoll_pwait2:441:441 epoll_wait:232:- eventfd:284:- eventfd2:290:19 execve:59:221 execveat:322:281
    exit:60:93 exit_group:231:94 faccessat:269:48 faccessat2:439:439 fadvise64:221:223 fallocate:285:47 fanotify_init:300:262
    fanotify_mark:301:263 fchdir:81:50 fchmod:91:52 fchmodat:268:53 fchmodat2:452:452 fchown:93:55 fchownat:260:54 fcntl:72:25
    fdatasync:75:83 fgetxattr:193:10 finit_module:313:273 flistxattr:196:13 flock:73:32 fork:57:- fremovexattr:199:16
    fsconfig:431:431 fsetxattr:190:7 fsmount:432:432 fsopen:430:430 fspick:433:433 fstat:5:80 fstatfs:138:44 fsync:74:82
    ftruncate:77:46 futex:202:98 futex_waitv:449:449 futimesat:261:- get_mempolicy:239:236 get_robust_list:274:100
    getcpu:309:168 getcwd:79:17 getdents:78:- getdents64:217:61 getegid:108:177 geteuid:107:175 getgid:104:176
    getgroups:115:158 getitimer:36:102 getpeername:52:205 getpgid:121:155 getpgrp:111:- getpid:39:172 getppid:110:173
    getpriority:140:141 getrandom:318:278 getresgid:120:150 getresuid:118:148 getrlimit:97:163 getrusage:98:165 getsid:124:156
    getsockname:51:204 getsockopt:55:209 gettid:186:178 gettimeofday:96:169 getuid:102:174 getxattr:191:8 init_module:175:105
    io_uring_enter:426:426 io_uring_register:427:427 io_uring_setup:425:425 ioctl:16:29 ioperm:173:- iopl:172:-
    ioprio_get:252:31 ioprio_set:251:30 kcmp:312:272 kexec_file_load:320:294 kexec_load:246:104 keyctl:250:219 kill:62:129
    landlock_add_rule:445:445 landlock_create_ruleset:444:444 landlock_restrict_self:446:446 lchown:94:- lgetxattr:192:9
    link:86:- linkat:265:37 listen:50:201 listxattr:194:11 llistxattr:195:12 lookup_dcookie:212:18 lremovexattr:198:15
    lseek:8:62 lsetxattr:189:6 lstat:6:- madvise:28:233 membarrier:324:283 memfd_create:319:279 memfd_secret:447:447
    migrate_pages:256:238 mincore:27:232 mkdir:83:- mkdirat:258:34 mknod:133:- mknodat:259:33 mlock:149:228 mlock2:325:284
    mlockall:151:230 mmap:9:222 modify_ldt:154:- mount:165:40 mount_setattr:442:442 move_mount:429:429 move_pages:279:239
    mprotect:10:226 mq_getsetattr:245:185 mq_notify:244:184 mq_open:240:180 mq_timedreceive:243:183 mq_timedsend:242:182
    mq_unlink:241:181 mremap:25:216 msgctl:71:187 msgget:68:186 msgrcv:70:188 msgsnd:69:189 msync:26:227 munlock:150:229
    munlockall:152:231 munmap:11:215 name_to_handle_at:303:264 nanosleep:35:101 newfstatat:262:79 nfsservctl:180:42 open:2:-
    open_by_handle_at:304:265 open_tree:428:428 openat:257:56 pause:34:- perf_event_open:298:241 personality:135:92
    pidfd_getfd:438:438 pidfd_open:434:434 pidfd_send_signal:424:424 pipe:22:- pipe2:293:59 pivot_root:155:41
    pkey_alloc:330:289 pkey_free:331:290 pkey_mprotect:329:288 poll:7:- ppoll:271:73 prctl:157:167 pread64:17:67 preadv:295:69
    preadv2:327:286 prlimit64:302:261 process_madvise:440:440 process_mrelease:448:448 process_vm_readv:310:270
    process_vm_writev:311:271 pselect6:270:72 ptrace:101:117 pwrite64:18:68 pwritev:296:70 pwritev2:328:287 quotactl:179:60
    quotactl_fd:443:443 read:0:63 readahead:187:213 readlink:89:- readlinkat:267:78 readv:19:65 reboot:169:142 recvfrom:45:207
    recvmmsg:299:243 recvmsg:47:212 removexattr:197:14 rename:82:- renameat:264:38 renameat2:316:276 request_key:249:218
    restart_syscall:219:128 rmdir:84:- rseq:334:293 rt_sigaction:13:134 rt_sigpending:127:136 rt_sigprocmask:14:135
    rt_sigqueueinfo:129:138 rt_sigreturn:15:139 rt_sigsuspend:130:133 rt_sigtimedwait:128:137 rt_tgsigqueueinfo:297:240
    sched_get_priority_max:146:125 sched_get_priority_min:147:126 sched_getaffinity:204:123 sched_getattr:315:275
    sched_getparam:143:121 sched_getscheduler:145:120 sched_rr_get_interval:148:127 sched_setaffinity:203:122
    sched_setattr:314:274 sched_setparam:142:118 sched_setscheduler:144:119 sched_yield:24:124 seccomp:317:277 select:23:-
    semctl:66:191 semget:64:190 semop:65:193 semtimedop:220:192 sendfile:40:71 sendmmsg:307:269 sendmsg:46:211 sendto:44:206
    set_robust_list:273:99 set_tid_address:218:96 setdomainname:171:162 setfsgid:123:152 setfsuid:122:151 setgid:106:144
    setgroups:116:159 sethostname:170:161 setitimer:38:103 setns:308:268 setpgid:109:154 setpriority:141:140 setregid:114:143
    setresgid:119:149 setresuid:117:147 setreuid:113:145 setrlimit:160:164 setsid:112:157 setsockopt:54:208
    settimeofday:164:170 setuid:105:146 setxattr:188:5 shmat:30:196 shmctl:31:195 shmdt:67:197 shmget:29:194 shutdown:48:210
    sigaltstack:131:132 signalfd:282:- signalfd4:289:74 socket:41:198 socketpair:53:199 stat:4:- statfs:137:43 statx:332:291
    swapoff:168:225 swapon:167:224 symlink:88:- symlinkat:266:36 sync:162:81 sync_file_range:277:84 syncfs:306:267
    sysinfo:99:179 syslog:103:116 tgkill:234:131 time:201:- timer_create:222:107 timer_delete:226:111 timer_getoverrun:225:109
    timer_gettime:224:108 timer_settime:223:110 timerfd_create:283:85 timerfd_gettime:287:87 timerfd_settime:286:86
    times:100:153 tkill:200:130 truncate:76:45 umask:95:166 umount2:166:39 uname:63:160 unlink:87:- unlinkat:263:35
    unshare:272:97 uselib:134:- userfaultfd:323:282 utime:132:- utimensat:280:88 utimes:235:- vfork:58:- vhangup:153:58
    wait4:61:260 waitid:247:95 write:1:64 writev:20:66
"""
SYSCALLS = {n: (int(a) if a != "-" else -1, int(b) if b != "-" else -1) for n, a, b in (t.split(":") for t in _NUMBERS.split())}
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the table, and the kernel's name (linux/audit.h)

# Arguments that are harmless; the rest is refused.
IOCTLS = (0x5401, 0x802C542A, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TCGETS2, TIOCGPGRP, TIOCGWINSZ, FIO*
FICLONE = 0x40049409  # copies of files ask for it first
FCNTLS = (*range(8), 9, 11, 36, 37, 38, 1025, *range(1030, 1035))  # not F_SETOWN, F_SETSIG (signals), F_SETLEASE, F_NOTIFY
PRCTLS = (2, 3, 15, 16, 21, 23, 27, 29, 30, 38, 39, 40, 42, 0x41555856, 0x53564D41)  # PR_GET_*; PR_SET_NAME, TIMERSLACK, VMA
SOCKET_OPTIONS = (7, 8, 20, 21, 66, 67)  # sizes of buffers and time-outs; others attach programs to a socket
CLONE_THREAD, CLONE_ELSEWHERE = 0x10000, 0x7E02A000  # CLONE_NEW* (other namespaces), CLONE_PARENT (a sibling), CLONE_PTRACE
AF_UNIX, SOL_SOCKET, O_TRUNC = 1, 1, 0o1000

Code = list[tuple[int, int, int, int]]  # operation, jump if true, jump if false, constant; each piece ends with a verdict
LOAD, RETURN, JUMP, EQUAL, AT_LEAST, ANY_BIT, AND = 0x20, 0x06, 0x05, 0x15, 0x35, 0x45, 0x54
OWN_PID = -1  # stands for the process id, which only the child knows
NUMBER, ARCHITECTURE = 0, 4  # where struct seccomp_data has them
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, SET_MODE_FILTER, GET_ACTION_AVAIL, KILL_PROCESS = 38, 39, 1, 2, 0x80000000


def _verdict(action: int) -> Code:
    return [(RETURN, 0, 0, action)]


def _refuse(error: int) -> Code:
    return _verdict(0x00050000 | error)


ALLOW, NOT_PERMITTED, NOT_THERE = _verdict(0x7FFF0000), _refuse(errno.EPERM), _refuse(errno.ENOSYS)
PRETEND = _refuse(0)  # the call is not made, and answered as if it were


def _if(test: int, constant: int, yes: Code, no: Code) -> Code:
    """``yes`` where the test of the loaded word is true, else ``no``; a conditional jump reaches 255 instructions at most."""
    if len(yes) > 255:
        return [(test, 1, 0, constant), (JUMP, 0, 0, len(yes)), *yes, *no]
    return [(test, 0, len(yes), constant), *yes, *no]


def _argument(index: int, code: Code, high: bool = False) -> Code:
    """Loads half of an argument first: arguments have 64 bits, and the kernel reads the low 32 of an int."""
    return [(LOAD, 0, 0, 16 + 8 * index + 4 * high), *code]


def _one_of(index: int, values: tuple[int, ...], yes: Code = ALLOW, no: Code = NOT_PERMITTED) -> Code:
    """``yes`` where an argument is one of some values, else ``no``."""
    tests = [(EQUAL, len(values) - 1 - n + len(no), 0, value) for n, value in enumerate(values)]
    return _argument(index, [*tests, *no, *yes])


def _choose(ranges: list[tuple[int, Code]]) -> Code:
    """A search tree: the loaded word is at least the first number of a range and less than that of the next."""
    if len(ranges) == 1:
        return ranges[0][1]
    half = len(ranges) // 2
    return _if(AT_LEAST, ranges[half][0], _choose(ranges[half:]), _choose(ranges[:half]))


def _rules(threads: bool, processes: bool, execute: bool, signal_others: bool, metadata: bool) -> dict[str, Code]:
    """What happens for each system call by name."""
    rules = {n: ALLOW for names in ALLOWED.values() for n in names.split()}
    rules |= {n: NOT_PERMITTED for names in REFUSED.values() for n in names.split()}
    rules |= {n: _refuse(errno.EACCES) for n in NETWORK.split()}
    rules |= dict.fromkeys(METADATA.split(), ALLOW if metadata else PRETEND)
    rules |= {n: ALLOW if metadata else _refuse(errno.ENOTSUP) for n in ATTRIBUTES.split()}
    rules |= dict.fromkeys(("fork", "vfork", "setsid", "setpgid"), ALLOW if processes else NOT_PERMITTED)
    rules |= dict.fromkeys(("execve", "execveat"), ALLOW if execute else NOT_PERMITTED)

    # clone3 takes its flags from memory, where a filter cannot look; without it the C library calls clone.
    thread, process = ALLOW if threads else NOT_PERMITTED, ALLOW if processes else NOT_PERMITTED
    kinds = _if(ANY_BIT, CLONE_THREAD, thread, process)
    rules["clone"] = _argument(0, _if(ANY_BIT, CLONE_ELSEWHERE, NOT_PERMITTED, kinds))
    rules["clone3"] = NOT_THERE

    own = _one_of(0, (OWN_PID,))
    rules |= dict.fromkeys(("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"), ALLOW if signal_others else own)
    rules |= {n: _one_of(0, (0, OWN_PID)) for n in ("prlimit64", "sched_setaffinity")}
    rules["setpriority"] = _one_of(0, (0,), _one_of(1, (0, OWN_PID)))  # of a process; not of all that a user has

    # A pair of datagram sockets could still send to any other socket by its name; so could a destination given to sendto.
    pair = [(AND, 0, 0, 0xF), *_if(EQUAL, 1, ALLOW, _if(EQUAL, 5, ALLOW, _refuse(errno.EACCES)))]  # SOCK_STREAM, SOCK_SEQPACKET
    rules["socketpair"] = _one_of(0, (AF_UNIX,), _argument(1, pair), _refuse(errno.EACCES))
    no_high = _argument(4, _if(EQUAL, 0, ALLOW, NOT_PERMITTED), high=True)
    rules["sendto"] = _one_of(4, (0,), no_high)
    rules["setsockopt"] = _one_of(1, (SOL_SOCKET,), _one_of(2, SOCKET_OPTIONS))

    rules["ioctl"] = _one_of(1, IOCTLS, no=_if(EQUAL, FICLONE, _refuse(errno.EOPNOTSUPP), NOT_PERMITTED))
    rules["fcntl"] = _one_of(1, FCNTLS)
    rules["prctl"] = _one_of(0, PRCTLS)

    # Before its third version Landlock stops neither truncate nor a file opened to be read and truncated.
    cut = [(AND, 0, 0, 3 | O_TRUNC), *_if(EQUAL, O_TRUNC, NOT_PERMITTED, _if(EQUAL, 3 | O_TRUNC, NOT_PERMITTED, ALLOW))]
    rules["truncate"] = ALLOW if metadata else NOT_PERMITTED
    rules["open"] = ALLOW if metadata else _argument(1, cut)
    rules["openat"] = ALLOW if metadata else _argument(2, cut)
    return rules


def _compile(rules: dict[str, Code], machine: str) -> Code:
    """The whole program for one machine."""
    column, architecture = MACHINES[machine]
    numbers = {SYSCALLS[name][column]: code for name, code in rules.items() if SYSCALLS[name][column] >= 0}
    ranges: list[tuple[int, Code]] = []
    for number in range(max(numbers) + 2):  # beyond the last: numbers of other systems, x32's among them
        code = numbers.get(number, NOT_THERE)
        if not ranges or ranges[-1][1] != code:
            ranges.append((number, code))
    chosen: Code = [(LOAD, 0, 0, NUMBER), *_choose(ranges)]
    return [(LOAD, 0, 0, ARCHITECTURE), *_if(EQUAL, architecture, chosen, _verdict(KILL_PROCESS))]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


_libc = ctypes.CDLL(None, use_errno=True)
_word = ctypes.c_ulong


def why_not() -> str:
    """Why no filter can be installed on this system; "" where one can. Changes nothing."""
    if not sys.platform.startswith("linux"):
        return f"seccomp is a part of Linux; this is {sys.platform}"
    if platform.machine() not in MACHINES or ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
        return f"no list of system calls for {platform.machine()} with {8 * ctypes.sizeof(ctypes.c_void_p)} bits"
    action = ctypes.c_uint32(KILL_PROCESS)
    number = SYSCALLS["seccomp"][MACHINES[platform.machine()][0]]
    if _libc.syscall(_word(number), _word(GET_ACTION_AVAIL), _word(0), ctypes.byref(action)):
        return f"the kernel offers no seccomp filters ({os.strerror(ctypes.get_errno())}); Linux 4.14 and later can"
    return ""


class Filter:
    """A list of system calls, ready to be installed by a forked child.

    Args:
        code: Instructions, with ``OWN_PID`` where the process id belongs.
        number: The machine's number of the system call ``seccomp``.
    """

    def __init__(self, code: Code, number: int):
        packed = b"".join(struct.pack("=HBBI", op, yes, no, 0 if k == OWN_PID else k) for op, yes, no, k in code)
        self.instructions = ctypes.create_string_buffer(packed, len(packed))
        self.words = memoryview(self.instructions).cast("B").cast("I")
        self.places = [2 * n + 1 for n, step in enumerate(code) if step[3] == OWN_PID]
        self.program = _Program(len(code), ctypes.addressof(self.instructions))
        self.set_flag, self.call = _libc.prctl, _libc.syscall  # looked up once: a child would do it again each time
        self.flag = [_word(n) for n in (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)]
        self.arguments = (_word(number), _word(SET_MODE_FILTER), _word(0), ctypes.byref(self.program))
        self.set_flag(_word(PR_GET_NO_NEW_PRIVS), *self.flag[2:], _word(0))  # binds the functions of the library below

    @classmethod
    def make(
        cls,
        *,
        threads: bool = True,
        processes: bool = False,
        execute: bool = False,
        signal_others: bool = False,
        metadata: bool = False,
        machine: str = "",
    ) -> Filter:
        """A filter for this machine.

        Args:
            threads: Threads may be started.
            processes: Processes may be forked, and make sessions and groups of their own; never in other namespaces.
            execute: Other programs may be executed. The filter holds for them too.
            signal_others: Signals may be sent to other processes. Without it only the process that installs the filter is sent
                any; give it together with ``processes`` where something else keeps the signals in (namespaces, Landlock's scope).
            metadata: Owners, modes, times and attributes of files may be changed, and files be truncated by their path. Landlock
                stops none of it, so give it only where files outside the scratch folder are mounted read-only or belong to
                others. Without it, changes of owner, mode and time are not made but answered as if they were, as programs that
                copy files ask for them in passing.
            machine: As ``platform.machine()`` says; this one by default.

        Raises:
            OSError: where no filter can be made for the machine.
        """
        machine = machine or platform.machine()
        if machine not in MACHINES or not sys.platform.startswith("linux"):
            raise OSError(errno.ENOSYS, f"no list of system calls for {machine} on {sys.platform}")
        code = _compile(_rules(threads, processes, execute, signal_others, metadata), machine)
        return cls(code, SYSCALLS["seccomp"][MACHINES[machine][0]])

    def install(self) -> None:
        """Holds this process, which has one thread, and all that it starts to the list, for good.

        Raises:
            OSError: where the kernel refuses; nothing is installed then.
        """
        process = os.getpid()
        for place in self.places:
            self.words[place] = process
        if self.set_flag(*self.flag):
            raise OSError(ctypes.get_errno(), "no_new_privs cannot be set")
        if self.call(*self.arguments):
            raise OSError(ctypes.get_errno(), "the seccomp filter cannot be installed")
