// Answers whoever connects to port 8080 with the name of this machine and the address of the other.

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <signal.h>

static void end(int signal) {
  (void)signal;
  _exit(0);
}

int main(void) {
  struct sigaction on_end = {.sa_handler = end};
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080)};
  int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  char name[256];
  sigaction(SIGTERM, &on_end, NULL);
  signal(SIGPIPE, SIG_IGN);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (gethostname(name, sizeof name) != 0 || listener < 0 ||
      bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(listener, 16) != 0) {
    perror("greet");
    return 1;
  }
  printf("%s greets\n", name);
  fflush(stdout);
  for (;;) {
    socklen_t length = sizeof address;
    int other = accept(listener, (struct sockaddr *)&address, &length);
    if (other >= 0) {
      dprintf(other, "%s greets %s\n", name, inet_ntoa(address.sin_addr));
      close(other);
    }
  }
}
