// Styles are bundled by the build; to the code they are nothing.
declare module '*.css';
