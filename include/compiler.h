#ifndef COMPILER_H_
#define COMPILER_H_

/* The few compiler attributes that the project uses. */

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

#endif /* !COMPILER_H_ */
