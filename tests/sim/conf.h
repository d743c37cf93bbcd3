#ifndef CONF_H_
#define CONF_H_

/* The volume's keys and its volume.conf, which are the same in every history. */

#include "compiler.h"
#include "params.h"

#define CONF_EPOCHS_MAX 8u

/* conf_init(): once. */
void conf_init(void);

/* conf_make(p, serial, epochs): the volume.conf with that many grants. */
void conf_make(struct params *p, uint64_t serial, uint64_t epochs);

const uint8_t *conf_log_key(void);		   /* LOG_KEY_LEN bytes */
const uint8_t *conf_name_key(void);		   /* 16 bytes */
const uint8_t *conf_writer_secret(uint64_t epoch); /* 64 bytes */
const char *conf_id(void);			   /* the volume's, as text */

#endif /* !CONF_H_ */
