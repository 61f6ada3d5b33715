#include <istream>
inline bool read(std::istream &from, long &value) { return static_cast<bool>(from >> value); }
