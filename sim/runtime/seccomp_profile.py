"""The default seccomp profile: the system calls that a container may make, by what they are about.

Decided here and only here: what is allowed by default. The aim is that of Docker's own default profile: everything that
programs need, nothing that acts on the whole machine or is a known way out. Whatever is not named fails with EPERM,
but calls that are newer than this list with ENOSYS, so that a C library tries an older one. Plain data.
"""

from __future__ import annotations

__all__ = ["AF_VSOCK", "ALLOWED", "BY_CAPABILITY", "NAMESPACE_FLAGS", "PERSONALITIES"]

_FILES = """
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
    fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64
    fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch
    inotify_init inotify_init1 inotify_rm_watch lchown lchown32 lgetxattr link linkat listxattr listxattrat
    llistxattr lremovexattr lseek _llseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at
    newfstatat open openat openat2 readahead readlink readlinkat removexattr removexattrat rename renameat renameat2
    rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx symlink symlinkat sync
    sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes
    vmsplice statmount listmount
"""

_TRANSFER = """
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit pread64 preadv preadv2
    pwrite64 pwritev pwritev2 read readv write writev
"""

_WAITING = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 pause poll ppoll ppoll_time64 pselect6 pselect6_time64 select _newselect signalfd signalfd4
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
"""

_MEMORY = """
    brk cachestat fork getrandom ioctl madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock
    mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
    pkey_mprotect process_mrelease remap_file_pages
"""

_PROCESSES = """
    capget capset execve execveat exit exit_group getcpu getegid getegid32 geteuid geteuid32 getgid getgid32
    getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32
    getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set kill pidfd_open pidfd_send_signal prctl
    prlimit64 ptrace restart_syscall rseq sched_get_priority_max sched_get_priority_min sched_getaffinity
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list
    get_robust_list set_thread_area get_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid
    setgid32 setgroups setgroups32 setitimer getitimer setpgid setpriority setregid setregid32 setresgid setresgid32
    setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 sysinfo tgkill times tkill ugetrlimit
    uname vfork wait4 waitid waitpid landlock_add_rule landlock_create_ruleset landlock_restrict_self
    process_vm_readv process_vm_writev lsm_get_self_attr lsm_list_modules lsm_set_self_attr uretprobe riscv_hwprobe
"""

_SIGNALS = """
    alarm rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack signal sigprocmask sigreturn
"""

_TIME = """
    adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 gettimeofday nanosleep time
"""

_LOCKS_AND_QUEUES = """
    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd
    semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
"""

_NETWORK = """
    accept accept4 bind connect getpeername getsockname getsockopt listen pipe pipe2 recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""

_ARCHITECTURE = """
    arch_prctl arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush modify_ldt riscv_flush_icache
    s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr set_tls sync_file_range2
"""

_SECTIONS = (
    _FILES,
    _TRANSFER,
    _WAITING,
    _MEMORY,
    _PROCESSES,
    _SIGNALS,
    _TIME,
    _LOCKS_AND_QUEUES,
    _NETWORK,
    _ARCHITECTURE,
)

#: Allowed for every container, whatever the arguments.
ALLOWED = frozenset(name for section in _SECTIONS for name in section.split())

#: Allowed only with a capability, since the kernel asks for it as well, or since it reaches far.
BY_CAPABILITY = {
    "DAC_READ_SEARCH": ("open_by_handle_at",),
    "SYS_ADMIN": (
        *("bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie"),
        *("mount", "mount_setattr", "move_mount", "open_tree", "perf_event_open", "quotactl", "quotactl_fd"),
        *("setdomainname", "sethostname", "setns", "syslog", "umount", "umount2", "unshare"),
    ),
    "SYS_BOOT": ("reboot",),
    "SYS_CHROOT": ("chroot",),
    "SYS_MODULE": ("delete_module", "finit_module", "init_module"),
    "SYS_PACCT": ("acct",),
    "SYS_PTRACE": ("kcmp", "pidfd_getfd", "process_madvise"),
    "SYS_RAWIO": ("ioperm", "iopl"),
    "SYS_TIME": ("clock_settime", "clock_settime64", "settimeofday", "stime"),
    "SYS_TTY_CONFIG": ("vhangup",),
    "SYS_NICE": ("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    "SYSLOG": ("syslog",),
    "BPF": ("bpf",),
    "PERFMON": ("perf_event_open",),
}

#: Flags of clone(2) that make namespaces; a container without SYS_ADMIN may use none of them.
NAMESPACE_FLAGS = 0x7E020000

#: What personality(2) may be asked for: to tell, the usual, two of 32 bits, and their union.
PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)

#: The one family of sockets that is refused: it reaches the hypervisor past every network namespace.
AF_VSOCK = 40
