#include <cstdio>
int requires = 2;
int main(){ int a,b; if(scanf("%d %d",&a,&b)!=2) return 1; printf("%d\n",a+b+requires-2); }
