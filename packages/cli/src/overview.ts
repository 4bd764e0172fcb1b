/** What a plain `meshpass` says: what it is for, and the commands that people begin with. */
export const OVERVIEW = `Meshpass makes a GitHub Codespace a first-class workload of an Istio mesh.

In a Codespace     meshpass up              join the mesh with your own identity
                   meshpass status          who you are, what you may reach, until when
                   meshpass explain URL     whether a call would pass, before you make it
                   meshpass request GRANT   ask for access that somebody has to approve
                   meshpass login           sign in at the company's identity provider
                   meshpass down            leave it; every credential is dead
On your desk       meshpass policy lint     find what is exposed by mistake
                   meshpass policy can-i    ask whether a call is allowed, and by which rule
                   meshpass policy plan     see what a change of the access file would do
As an operator     meshpass login           sign in at the broker; meshpass whoami says as what
                   meshpass approvals list  who asks for access; approve and deny answer
                   meshpass operators list  who is signed in, and what each role may do (roles)
In the cluster     meshpass serve           run the broker; meshpass edge runs an edge
                   meshpass sessions list   see who has access now; sessions close ends it
                   meshpass drill           prove that nothing works after a session has ended
All commands and flags: meshpass --help`;
