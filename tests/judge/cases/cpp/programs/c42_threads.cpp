#include <thread>
#include <vector>
#include <atomic>
#include <cstdio>
int main(){ int a,b; if(scanf("%d %d",&a,&b)!=2) return 1; std::atomic<int> s{0}; std::vector<std::thread> t; for(int x:{a,b}) t.emplace_back([&s,x]{ s+=x; }); for(auto&e:t) e.join(); printf("%d\n",s.load()); }
