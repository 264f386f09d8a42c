// SPDX-License-Identifier: Apache-2.0
/* hold DEVICE: opens it exclusively, says so, and keeps it until it is killed. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 2 || open(argv[1], O_RDONLY | O_EXCL | O_CLOEXEC) < 0) {
		perror("hold");
		return 1;
	}
	puts("held");
	fflush(stdout);
	pause();
	return 0;
}
