-- The layout of the schema that is being filled: projectors of another release leave it alone.
ALTER TABLE keyfold.control ADD COLUMN building_layout integer;
