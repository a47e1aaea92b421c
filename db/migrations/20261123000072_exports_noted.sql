-- migrate:up
-- That somebody took data with them is in audit.
set local role neurant_owner;

create function private.note_export(p_what text, p_format text) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('data.export');
begin
  if v_company is null then
    return false;
  end if;
  perform private.write_audit(v_company, 'export', p_what, null,
    jsonb_build_object('format', p_format));
  return true;
end $$;
comment on function private.note_export(text, text) is
  'Writes into audit that the caller begins an export; false where the caller may not. Definer: nobody writes audit by hand.';
grant execute on function private.note_export(text, text) to authenticated;
alter function private.note_export(text, text) owner to neurant_router;

reset role;
-- migrate:down
