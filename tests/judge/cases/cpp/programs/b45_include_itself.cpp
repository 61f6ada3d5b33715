#include __FILE__
#include "program.cpp"
int main() {}
