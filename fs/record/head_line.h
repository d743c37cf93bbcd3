#ifndef HEAD_LINE_H_
#define HEAD_LINE_H_

/* The form of a note's signature line: head.c reads it; sign.c, which no server links, makes it. */

#include "format.h"
#include "text.h"

#define HEAD_KEY_ID_LEN 4u
#define HEAD_SIGNATURE_START "\xe2\x80\x94 " /* em dash in UTF-8, space */

/* head_key_id(name, public, out): the id of Ed25519 key ${public} under key name ${name}. */
void head_key_id(struct text name, const uint8_t public[SIGN_PUBLIC_LEN],
		 uint8_t out[HEAD_KEY_ID_LEN]);

#endif /* !HEAD_LINE_H_ */
