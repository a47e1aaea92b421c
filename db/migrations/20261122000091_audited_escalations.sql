-- migrate:up
-- That somebody was told of a waiting customer is audited, too.
set local role neurant_owner;

select private.audit_column('public.hitl_sessions', 'escalated_at', 'shown');

reset role;
-- migrate:down
