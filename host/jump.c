/* jump.c -- setjmp and longjmp of the Lua that the host carries.
 *
 * Each resume of a coroutine begins with a setjmp, and each wait ends with a longjmp to it.  The C
 * library's longjmp looks each time whether that is sound and what thread cancellation has to
 * clean up, in which it spends a tenth of a switch between tasks; Lua's jumps are sound and its
 * threads are not cancelled.  These two keep what the ABI has a function keep, and guard stack
 * and return address as the C library does.  Not visible outside of the host: C modules have the
 * library's.
 *
 * Where this does not know the processor, or a sanitizer has to hear of jumps, the library's
 * functions are used. */
#include <setjmp.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define JUMPS_ARE_WATCHED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define JUMPS_ARE_WATCHED 1
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(JUMPS_ARE_WATCHED)

/* %fs:0x30 is the thread's pointer guard. */
__asm__(".text\n"
        ".p2align 4\n"
        ".globl _setjmp\n"
        ".hidden _setjmp\n"
        ".type _setjmp, @function\n"
        "_setjmp:\n" /* (buffer) */
        ".cfi_startproc\n"
        "    movq %fs:0x30, %rax\n"
        "    leaq 8(%rsp), %rcx\n"
        "    movq (%rsp), %rdx\n"
        "    xorq %rax, %rcx\n"
        "    xorq %rax, %rdx\n"
        "    movq %rbx, (%rdi)\n"
        "    movq %rbp, 8(%rdi)\n"
        "    movq %r12, 16(%rdi)\n"
        "    movq %r13, 24(%rdi)\n"
        "    movq %r14, 32(%rdi)\n"
        "    movq %r15, 40(%rdi)\n"
        "    rolq $17, %rcx\n"
        "    rolq $17, %rdx\n"
        "    movq %rcx, 48(%rdi)\n"
        "    movq %rdx, 56(%rdi)\n"
        "    xorl %eax, %eax\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size _setjmp, .-_setjmp\n"
        ".p2align 4\n"
        ".globl __longjmp_chk\n"
        ".hidden __longjmp_chk\n"
        ".type __longjmp_chk, @function\n"
        "__longjmp_chk:\n" /* (buffer, value, which is not 0) */
        ".cfi_startproc\n"
        "    movq 48(%rdi), %rcx\n"
        "    movq 56(%rdi), %rdx\n"
        "    movl %esi, %eax\n"
        "    rorq $17, %rcx\n"
        "    rorq $17, %rdx\n"
        "    xorq %fs:0x30, %rcx\n"
        "    xorq %fs:0x30, %rdx\n"
        "    movq (%rdi), %rbx\n"
        "    movq 8(%rdi), %rbp\n"
        "    movq 16(%rdi), %r12\n"
        "    movq 24(%rdi), %r13\n"
        "    movq 32(%rdi), %r14\n"
        "    movq 40(%rdi), %r15\n"
        "    movq %rcx, %rsp\n"
        "    jmp *%rdx\n"
        ".cfi_endproc\n"
        ".size __longjmp_chk, .-__longjmp_chk\n"
        ".section .note.GNU-stack, \"\", @progbits\n"
        ".text\n");

#endif
