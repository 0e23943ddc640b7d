//! Which system calls a container may use, by what they are for.
//!
//! The set is that of Docker's default profile since version 25 (without `io_uring_*`), so that what
//! runs under Docker runs here, and what is refused there is refused here.

/// Allowed to every container, on the architectures that have them.
pub(super) const ALLOWED: &str = "
    execve execveat exit exit_group fork vfork wait4 waitid waitpid
    getpid getppid gettid getpgid getpgrp getsid setpgid setsid
    kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 sigaltstack sigprocmask sigreturn signalfd signalfd4 pause restart_syscall
    ptrace process_vm_readv process_vm_writev process_mrelease
    prctl arch_prctl modify_ldt set_tls get_thread_area set_thread_area set_tid_address rseq
    set_robust_list get_robust_list futex futex_time64 futex_waitv membarrier seccomp
    landlock_add_rule landlock_create_ruleset landlock_restrict_self
    capget capset getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32
    getresuid getresuid32 getresgid getresgid32 getgroups getgroups32
    setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32
    setresgid setresgid32 setgroups setgroups32 setfsuid setfsuid32 setfsgid setfsgid32
    getrlimit ugetrlimit setrlimit prlimit64 getrusage getpriority setpriority ioprio_get ioprio_set
    sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
    sched_setattr sched_setparam sched_setscheduler sched_yield getcpu
    brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall
    memfd_create memfd_secret remap_file_pages pkey_alloc pkey_free pkey_mprotect
    time times gettimeofday clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 nanosleep alarm getitimer setitimer adjtimex
    clock_adjtime clock_adjtime64 timer_create timer_delete timer_getoverrun timer_gettime
    timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
    timerfd_settime timerfd_settime64
    uname sysinfo getrandom umask getcwd chdir fchdir
    open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 ioctl flock
    read readv pread64 preadv preadv2 readahead write writev pwrite64 pwritev pwritev2
    lseek _llseek sendfile sendfile64 copy_file_range splice tee vmsplice
    fsync fdatasync sync syncfs sync_file_range sync_file_range2 arm_sync_file_range
    fallocate fadvise64 fadvise64_64 arm_fadvise64_64
    truncate truncate64 ftruncate ftruncate64
    stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64
    access faccessat faccessat2 chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat
    lchown lchown32 utime utimes utimensat utimensat_time64 futimesat
    link linkat symlink symlinkat readlink readlinkat unlink unlinkat rename renameat renameat2
    cachestat mkdir mkdirat rmdir mknod mknodat getdents getdents64 name_to_handle_at
    getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr listxattr llistxattr flistxattr
    removexattr lremovexattr fremovexattr
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch fanotify_mark
    pipe pipe2 eventfd eventfd2 select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
    accept accept4 bind connect getpeername getsockname getsockopt setsockopt listen shutdown
    recv recvfrom recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto socketpair socketcall
    ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64
    shmat shmctl shmdt shmget mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
    mq_timedsend mq_timedsend_time64 mq_unlink
";

/// 32-bit ARM's private calls, with their numbers (arch/arm/include/uapi/asm/unistd.h).
pub(super) const ARM_PRIVATE: [(&str, u32); 3] = [
    ("breakpoint", 0x000f_0001),
    ("cacheflush", 0x000f_0002),
    ("set_tls", 0x000f_0005),
];

/// Allowed to a container that has the capability without which they do nothing.
pub(super) const WITH_CAPABILITY: [(&str, &str); 14] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr \
         move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog \
         umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module init_module finit_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("SYS_RAWIO", "iopl ioperm"),
    (
        "SYS_TIME",
        "settimeofday stime clock_settime clock_settime64",
    ),
    ("SYS_TTY_CONFIG", "vhangup"),
    (
        "SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];
